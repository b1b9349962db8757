import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import { GraphiQL } from 'graphiql';
import { createRoot } from 'react-dom/client';
import { createFetcher } from './fetcher';
import { DEFAULT_TABS } from './tabs';
import { adoptTokenFromAddress } from './token';
import { TokenButton } from './TokenButton';

adoptTokenFromAddress();
const fetcher = createFetcher();
const linked = new URLSearchParams(location.search);

createRoot(document.getElementById('root')!).render(
  <GraphiQL
    fetcher={fetcher}
    defaultTabs={DEFAULT_TABS}
    initialQuery={linked.get('query') ?? undefined}
    initialVariables={linked.get('variables') ?? undefined}
    customScalarSchemas={{ JSON: {} }}
    defaultEditorToolsVisibility
    schemaDescription
  >
    <GraphiQL.Logo>ML Pipeline Thing</GraphiQL.Logo>
    <GraphiQL.Toolbar>
      {({ prettify, merge, copy }) => (
        <>
          {prettify}
          {merge}
          {copy}
          <TokenButton />
        </>
      )}
    </GraphiQL.Toolbar>
  </GraphiQL>,
);
