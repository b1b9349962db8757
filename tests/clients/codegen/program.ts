// A program on the generated types: reads a run and its events, changes its notes, and prints the results as one
// JSON line. Documents are sent as texts, or with the third argument "hashes" by their hashes.
import { createClient, type SubscribePayload } from 'graphql-ws';
// @ts-expect-error - its types are in a package of their own
import WebSocket from 'ws';
import {
  FollowDocument,
  RunDocument,
  UpdateDocument,
  type FollowSubscription,
  type TypedDocumentString,
} from './generated/graphql.js';

declare const process: { argv: string[] };
const [url, id, mode] = process.argv.slice(2) as [string, string, string];

function request<Variables>(document: TypedDocumentString<unknown, Variables>, variables: Variables): object {
  return mode === 'hashes'
    ? { documentId: document.__meta__?.['hash'], variables }
    : { query: document.toString(), variables };
}

async function execute<Result, Variables>(
  document: TypedDocumentString<Result, Variables>,
  variables: Variables,
): Promise<Result> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
    body: JSON.stringify(request(document, variables)),
  });
  const { data, errors } = (await response.json()) as { data: Result; errors?: unknown };
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

function summary(batch: FollowSubscription['runEvents']): string[] {
  return batch.events.map((event) => ('stageStatus' in event ? event.stageStatus : event.kind));
}

const sockets = createClient({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket, retryAttempts: 0 });
const followed: string[] = [];
// The client requires a text: the websocket protocol has only texts.
const subscription: SubscribePayload = { query: '', ...request(FollowDocument, { runId: id }) };
for await (const { data, errors } of sockets.iterate<FollowSubscription>(subscription)) {
  if (errors || !data) throw new Error(JSON.stringify(errors));
  followed.push(...summary(data.runEvents));
}

const { run } = await execute(RunDocument, { id });
if (!run) throw new Error('no such run');
const events: number = run.lastEventSeq;
const created = new Date(run.createdAt);
const values = run.stageRuns.flatMap((stage) => stage.metricPoints.map((point) => Number(point.value)));
const sizes = run.stageRuns.flatMap((stage) => stage.artifacts.nodes.map((artifact) => artifact.fileSize ?? 0));
const { updateRun } = await execute(UpdateDocument, { input: { runId: run.id, notes: 'typed' } });
const codes = updateRun.errors.map((error) => error.code);

console.log(
  JSON.stringify({
    status: run.status,
    events,
    year: created.getUTCFullYear(),
    values: values.length,
    sizes: sizes.every((size: number) => size >= 0),
    notes: updateRun.run?.notes,
    codes,
    followed: followed.at(-2),
  }),
);
await sockets.dispose();
