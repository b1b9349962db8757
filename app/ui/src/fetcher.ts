import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit';
import { readToken } from './token';

export const UNAUTHORIZED = 'mlp:unauthorized';

type Headers = Record<string, unknown>;

/** Names this page, so that a run started here counts as MANUAL. A header from the headers editor replaces it. */
function withDefaults(headers: Headers = {}): Headers {
  const token = readToken();
  const given = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  return {
    ...(given.has('x-mlp-client') ? {} : { 'X-MLP-Client': 'graphiql' }),
    ...(token === null || given.has('authorization') ? {} : { Authorization: `Bearer ${token}` }),
    ...headers,
  };
}

async function fetchAndReportRefusal(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const response = await fetch(input, init);
  if (response.status === 401) window.dispatchEvent(new Event(UNAUTHORIZED));
  return response;
}

/**
 * Queries and mutations go by POST, subscriptions by graphql-transport-ws, both to the address of this page. The
 * headers become the payload of `connection_init`, since a browser can't set headers on a websocket.
 */
export function createFetcher(): Fetcher {
  const url = location.origin + location.pathname;
  const send = createGraphiQLFetcher({
    url,
    subscriptionUrl: url.replace(/^http/, 'ws'),
    enableIncrementalDelivery: false,
    fetch: fetchAndReportRefusal,
  });
  return (params, options) => send(params, { ...options, headers: withDefaults(options?.headers) });
}
