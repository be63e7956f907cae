// The pages beside the playground: loaded when one of them is opened.

export { default as Missing } from './Missing.svelte';
export { default as ModelPage } from './ModelPage.svelte';
export { default as Models } from './Models.svelte';
