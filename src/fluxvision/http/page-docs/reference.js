/* Shows the OpenAPI document of the server that this page comes from. */
const place = document.getElementById('reference');
const NAMES = [
  ['.information-container, .scheme-container', 'role', () => 'region'],
  ['.information-container', 'aria-label', () => 'Information'],
  ['.scheme-container', 'aria-label', () => 'Servers'],
  ['section.models', 'aria-label', () => 'Schemas'],
  ['#servers', 'aria-label', () => 'Server'],
  ['.examples-select-element', 'aria-label', () => 'Example'],
  ['td :is(select, input, textarea)', 'aria-label', (one) => one.closest('tr').querySelector('.parameter__name')?.textContent.trim() || 'Value'],
  ['pre', 'tabindex', () => '0'],
];

/* What the viewer leaves without a name gets one, for people who do not see where it stands. */
const name = () => {
  for (const [selector, attribute, value] of NAMES) {
    for (const one of place.querySelectorAll(selector)) if (!one.hasAttribute(attribute)) one.setAttribute(attribute, value(one));
  }
};
new MutationObserver(name).observe(place, { childList: true, subtree: true });

window.SwaggerUIBundle({
  url: new URL('../openapi.json', window.location.href).pathname,
  domNode: place,
  validatorUrl: null,
  deepLinking: false,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  syntaxHighlight: { theme: 'nord' },
});
