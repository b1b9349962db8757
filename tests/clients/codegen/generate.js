// What `graphql-codegen` does with its client preset, without the dependencies of its command line.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { codegen } from '@graphql-codegen/core';
import { preset } from '@graphql-codegen/client-preset';
import { buildASTSchema, parse } from 'graphql';

const [schemaFile, documentsFile, folder] = process.argv.slice(2);
const schema = parse(readFileSync(schemaFile, 'utf8'));
const rawSDL = readFileSync(documentsFile, 'utf8');
const config = {
  documentMode: 'string',
  useTypeImports: true,
  strictScalars: true,
  scalars: {
    BigInt: { input: 'number | string', output: 'number' },
    DateTime: 'string',
    JSON: 'unknown',
    MetricValue: "number | 'NaN' | 'Infinity' | '-Infinity'",
  },
};
const files = await preset.buildGeneratesSection({
  baseOutputDir: `${folder}/`,
  schema,
  schemaAst: buildASTSchema(schema),
  documents: [{ location: documentsFile, document: parse(rawSDL), rawSDL }],
  config,
  plugins: [],
  pluginMap: {},
  presetConfig: { persistedDocuments: true },
});
mkdirSync(folder, { recursive: true });
for (const file of files) writeFileSync(file.filename, await codegen({ ...file, config: { ...config, ...file.config } }));
