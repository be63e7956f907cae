import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

const server = 'http://127.0.0.1:8011';

// The server compares Origin with Host, so the proxy speaks as a page of the server itself would.
const proxy = Object.fromEntries(
  ['/v1', '/media', '/docs'].map((path) => [path, { target: server, changeOrigin: true, headers: { Origin: server } }]),
);

export default defineConfig({
  plugins: [svelte()],
  server: { proxy },
  build: {
    outDir: '../src/fluxvision/http/page',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: ['chrome123', 'firefox121', 'safari17.5'],
    chunkSizeWarningLimit: 400,
  },
  test: { include: ['tests/**/*.test.ts'] },
});
