// Starts the API documentation; a file of its own because the page's policy allows no inline script.
const last = "operations";
const someGift = (campaign) => `"campaign_id":"${campaign}"`;

// Puts a campaign that takes gifts into the example of a gift, so that it can be tried out as it stands.
async function withCampaign(answer) {
  if (!answer.url.endsWith("/openapi.json")) return answer;
  const campaigns = await fetch("/api/v1/campaigns?status=LIVE&limit=1").then((found) => found.json());
  const [campaign] = campaigns.items ?? [];
  if (campaign) answer.text = answer.text.replaceAll(someGift("00000000-0000-7000-8000-000000000000"), someGift(campaign.id));
  return answer;
}

// The documentation is dark by a class alone; the other pages ask the system themselves.
const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  responseInterceptor: withCampaign,
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  tagsSorter: (one, other) => (one === last) - (other === last) || one.localeCompare(other),
  validatorUrl: null,
  onComplete: () => document.querySelector("#servers")?.setAttribute("aria-label", "Server"),
});
