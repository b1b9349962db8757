// Follows a run with a stock client (graphql-ws, urql or apollo) whose socket is cut repeatedly, at any moment. Prints one
// line of JSON: the numbers of all events in order of arrival, and how many had arrived at each cut.
import { ApolloClient, InMemoryCache, gql } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { Client, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { resuming } from './resuming.js';

const [kind, url, runId, cuts] = process.argv.slice(2);
const query = `subscription ($runId: ID!, $after: String) {
  runEvents(runId: $runId, after: $after) { cursor events { seq kind } resyncRequired { missedFrom } } }`;
const variables = { runId };
const seen = [];
const seenAtCuts = [];

function cut(socket) {
  if (seenAtCuts.length < Number(cuts)) {
    seenAtCuts.push(seen.length);
    socket.terminate();
  }
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

const follow = {
  'graphql-ws': (next, error) => client.subscribe({ query, variables }, { next, error, complete() {} }),
  urql: (next) =>
    new Client({
      url,
      exchanges: [
        subscriptionExchange({
          forwardSubscription: (request) => ({
            subscribe: (sink) => ({ unsubscribe: client.subscribe(request, sink) }),
          }),
        }),
      ],
    })
      .subscription(query, variables)
      .subscribe(next),
  apollo: (next, error) =>
    new ApolloClient({ link: new GraphQLWsLink(client), cache: new InMemoryCache() })
      .subscribe({ query: gql(query), variables })
      .subscribe({ next, error }),
};

await new Promise((finished, failed) => {
  follow[kind]((result) => {
    if (!result.data || result.data.runEvents.resyncRequired) return failed(new Error(JSON.stringify(result)));
    const { events } = result.data.runEvents;
    seen.push(...events.map((event) => event.seq));
    if (events.some((event) => event.kind === 'RUN_FINISHED')) finished();
  }, failed);
});
console.log(JSON.stringify({ seen, seenAtCuts }));
await client.dispose();
process.exit(0);
