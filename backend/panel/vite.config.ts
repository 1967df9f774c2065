/**
 * How the panel is built: `vite build backend/panel`. Every address in it is relative, so that it
 * works under any path of a reverse proxy without being told.
 */
import { defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2022',
    // The content security policy forbids scripts within the page, and every browser we serve
    // knows how to preload modules by itself.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  server: { proxy: { '/api': { target: 'http://127.0.0.1:8480', ws: true } } },
});
