// Follows the log of a stage with the stock graphql-ws client, whose socket is cut after each piece. Prints one line of
// JSON: the text in order of arrival, and how often the socket was cut.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { resuming } from './resuming.js';

const [url, stageRunId] = process.argv.slice(2);
const query = `subscription ($stageRunId: ID!, $after: String) {
  stageLog(stageRunId: $stageRunId, after: $after) { cursor text } }`;
let cuts = 0;

class FragileSocket extends WebSocket {
  constructor(...args) {
    super(...args);
    this.on('message', (data) => {
      if (!data.includes('stageLog')) return;
      cuts += 1;
      setImmediate(() => this.terminate());
    });
  }
}

const client = resuming(
  createClient({ url, webSocketImpl: FragileSocket, retryAttempts: 100, retryWait: async () => {} }),
);
let text = '';
await new Promise((complete, error) => {
  const next = ({ data }) => (text += data.stageLog.text);
  client.subscribe({ query, variables: { stageRunId } }, { next, error, complete });
});
console.log(JSON.stringify({ text, cuts }));
process.exit(0);
