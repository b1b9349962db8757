import { writeToken } from './token';

/**
 * What a link brings along: `/graphql#query=...&variables=...&token=...`. It stands in the fragment, which never
 * reaches the server, its logs or those of a proxy.
 */
export function readAddress(): { query?: string; variables?: string } {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const token = parameters.get('token');
  if (token !== null) {
    writeToken(token);
    parameters.delete('token');
    history.replaceState(null, '', `${location.pathname}#${parameters}`);
  }
  return { query: parameters.get('query') ?? undefined, variables: parameters.get('variables') ?? undefined };
}
