import createPipeline from './tabs/createPipeline.graphql?raw';
import resourceSamples from './tabs/resourceSamples.graphql?raw';
import runEvents from './tabs/runEvents.graphql?raw';
import runs from './tabs/runs.graphql?raw';
import startRun from './tabs/startRun.graphql?raw';

const asJson = (variables: object) => JSON.stringify(variables, null, 2);

/** What a first visitor finds: look, create, start, and watch twice. */
export const DEFAULT_TABS = [
  { query: runs },
  { query: createPipeline },
  { query: startRun, variables: asJson({ pipelineId: '' }) },
  { query: runEvents, variables: asJson({ runId: '' }) },
  { query: resourceSamples, variables: asJson({ runId: '' }) },
];
