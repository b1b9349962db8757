import { defineConfig } from 'vite';

export default defineConfig({
  // Relative addresses, so that the page also works behind a proxy which adds a path prefix.
  base: './',
  // Monaco starts its language services as module workers.
  worker: { format: 'es' },
  build: {
    outDir: '../static',
    emptyOutDir: true,
    license: { fileName: 'LICENSES.md' },
    chunkSizeWarningLimit: 6000,
    rolldownOptions: { input: 'graphiql.html' },
  },
});
