/**
 * The API token of this browser tab. It lives in sessionStorage: it survives a reload, but neither the tab nor a
 * write to disk. A link `/graphql#token=...` brings it in; the fragment never reaches the server or its logs.
 */
const KEY = 'mlp:token';

export function readToken(): string | null {
  return sessionStorage.getItem(KEY);
}

export function writeToken(token: string): void {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

export function adoptTokenFromAddress(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) return;
  writeToken(token);
  history.replaceState(null, '', location.pathname + location.search);
}
