// Three mistakes that the types must catch: a field that is not selected, a missing variable, a value of a wrong type.
import type { RunQuery, RunQueryVariables, UpdateMutationVariables } from './generated/graphql.js';

export const notAskedFor = (run: RunQuery) => run.run?.notes;
export const missing: RunQueryVariables = {};
export const wrongType: UpdateMutationVariables = { input: { runId: 'x', tags: 'nightly' } };
