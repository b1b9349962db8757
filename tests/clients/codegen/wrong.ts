// Three mistakes which the types must catch: a field nobody asked for, a missing variable, a value of a wrong type.
import type { RunQuery, RunQueryVariables, UpdateMutationVariables } from './generated/graphql.js';

export const notAskedFor = (run: RunQuery) => run.run?.notes;
export const missing: RunQueryVariables = {};
export const wrongType: UpdateMutationVariables = { input: { runId: 'x', tags: 'nightly' } };
