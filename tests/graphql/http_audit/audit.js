// Prints the outcome of every audit of GraphQL over HTTP as JSON lines: {id, name, status, reason}.
import { serverAudits } from 'graphql-http';

for (const audit of serverAudits({ url: process.argv[2] })) {
  const { status, reason } = await audit.fn();
  console.log(JSON.stringify({ id: audit.id, name: audit.name, status, reason }));
}
