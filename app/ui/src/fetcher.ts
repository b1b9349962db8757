import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit';
import { readToken } from './token';

export const UNAUTHORIZED = 'mlp:unauthorized';

type Headers = Record<string, unknown>;

/** The headers editor wins over the token of the tab. */
function withToken(headers: Headers = {}): Headers {
  const token = readToken();
  const given = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization');
  return token === null || given ? headers : { ...headers, Authorization: `Bearer ${token}` };
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
  return (params, options) => send(params, { ...options, headers: withToken(options?.headers) });
}
