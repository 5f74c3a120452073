// The sidebar's tab that shows the conversation.

import { app } from "../../../scripts/app.js";
import { Panel } from "./panel.js";
import { readTexts } from "./texts.js";

let panel = null;

// Nothing is read before someone opens the tab; what could not be read is tried again when it is opened again.
async function opened() {
  if (panel) return panel;
  await readTexts();
  const fresh = new Panel();
  await fresh.open();
  panel ??= fresh;
  return panel;
}

app.registerExtension({
  name: "lightfusion.talk",

  setup() {
    app.extensionManager.registerSidebarTab({
      id: "lightfusion.talk",
      icon: "pi pi-comments",
      title: "Talk",
      tooltip: "LightFusion",
      type: "custom",
      render: async (place) => {
        place.classList.add("lightfusion-talk-place");
        place.replaceChildren((await opened()).element);
      },
    });
  },
});
