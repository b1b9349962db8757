import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import { GraphiQL } from 'graphiql';
import { createRoot } from 'react-dom/client';
import { readAddress } from './address';
import { createFetcher } from './fetcher';
import { DEFAULT_TABS } from './tabs';
import { TokenButton } from './TokenButton';

const linked = readAddress();
const fetcher = createFetcher();

createRoot(document.getElementById('root')!).render(
  <GraphiQL
    fetcher={fetcher}
    defaultTabs={DEFAULT_TABS}
    initialQuery={linked.query}
    initialVariables={linked.variables}
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
