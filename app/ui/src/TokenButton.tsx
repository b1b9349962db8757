import { ToolbarButton, useGraphiQLActions } from '@graphiql/react';
import { useEffect, useRef, type SubmitEvent } from 'react';
import { UNAUTHORIZED } from './fetcher';
import { readToken, writeToken } from './token';

function KeyIcon() {
  return (
    <svg viewBox="0 0 24 24" className="graphiql-toolbar-icon" fill="none" stroke="currentColor" strokeWidth="1.8" aria-hidden="true">
      <circle cx="8" cy="15" r="4.5" />
      <path d="m11.5 11.5 8-8m-3 3 3 3m-6 0 2 2" />
    </svg>
  );
}

/** Asks for the API token: on a click, and by itself when the server answers 401. */
export function TokenButton() {
  const { introspect } = useGraphiQLActions();
  const dialog = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    const open = () => dialog.current?.open || dialog.current?.showModal();
    window.addEventListener(UNAUTHORIZED, open);
    return () => window.removeEventListener(UNAUTHORIZED, open);
  }, []);

  const save = (event: SubmitEvent<HTMLFormElement>) => {
    writeToken(String(new FormData(event.currentTarget).get('token')).trim());
    void introspect();
  };

  return (
    <>
      <ToolbarButton label="API token" onClick={() => dialog.current?.showModal()}>
        <KeyIcon />
      </ToolbarButton>
      <dialog ref={dialog} className="token-dialog" aria-labelledby="token-title">
        <form method="dialog" onSubmit={save}>
          <label id="token-title" htmlFor="token">
            API token of this server, kept until this tab is closed
          </label>
          <input id="token" name="token" type="password" autoComplete="off" defaultValue={readToken() ?? ''} />
          <footer>
            <button type="button" className="graphiql-button" onClick={() => dialog.current?.close()}>
              Cancel
            </button>
            <button type="submit" className="graphiql-button graphiql-button-success">
              Use this token
            </button>
          </footer>
        </form>
      </dialog>
    </>
  );
}
