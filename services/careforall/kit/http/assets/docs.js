// Starts the API documentation; a file of its own because the page's policy allows no inline script.
const last = "operations";
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  tagsSorter: (one, other) => (one === last) - (other === last) || one.localeCompare(other),
  validatorUrl: null,
});
