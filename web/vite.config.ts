import { defineConfig } from "vite";

// File names without hashes: the server embeds them by name and has browsers ask for them anew each time.
export default defineConfig({
  base: "/ui/assets/",
  build: {
    assetsDir: "",
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: { output: { entryFileNames: "app.js", assetFileNames: "app[extname]", codeSplitting: false } },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});
