// Follows a run with the stock graphql-ws client while its socket is cut again and again, in the middle of anything.
// Prints one JSON line: the numbers of all events in the order they came, and what had come at each cut.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { resuming } from './resuming.js';

const [url, runId, cuts] = process.argv.slice(2);
const seen = [];
const seenAtCuts = [];

function cut(socket) {
  if (seenAtCuts.length < Number(cuts)) {
    seenAtCuts.push(seen.length);
    socket.terminate();
  }
}

function remember({ data, errors }) {
  if (errors || data.runEvents.resyncRequired) throw new Error(JSON.stringify({ data, errors }));
  seen.push(...data.runEvents.events.map((event) => event.seq));
}

class FragileSocket extends WebSocket {
  constructor(...args) {
    super(...args);
    // Half of the sockets are cut by a timer, at any moment; the others right when a batch of events has arrived.
    if (seenAtCuts.length % 2) this.once('open', () => setTimeout(() => cut(this), 20 * (seenAtCuts.length % 5)));
    else this.on('message', (data) => data.includes('runEvents') && setImmediate(() => cut(this)));
  }
}

const client = resuming(
  createClient({ url, webSocketImpl: FragileSocket, retryAttempts: 100, retryWait: async () => {} }),
);
const query = `subscription ($runId: ID!, $after: String) {
  runEvents(runId: $runId, after: $after) { cursor events { seq } resyncRequired { missedFrom } } }`;
await new Promise((complete, error) =>
  client.subscribe({ query, variables: { runId } }, { complete, error, next: remember }),
);
console.log(JSON.stringify({ seen, seenAtCuts }));
await client.dispose();
