// Follows a run with the stock graphql-ws client; prints one JSON line per event and one when the stream completes.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, runId] = process.argv.slice(2);
const client = createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0 });
const query = `subscription ($runId: ID!) { runEvents(runId: $runId) { cursor events { seq kind } } }`;
for await (const { data, errors } of client.iterate({ query, variables: { runId } })) {
  if (errors) throw new Error(JSON.stringify(errors));
  for (const event of data.runEvents.events) console.log(JSON.stringify(event));
}
console.log(JSON.stringify({ completed: true }));
await client.dispose();
