/** The API token of this browser tab, kept in sessionStorage: it survives a reload and ends with the tab. */
const KEY = 'mlp:token';

export function readToken(): string | null {
  return sessionStorage.getItem(KEY);
}

export function writeToken(token: string): void {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}
