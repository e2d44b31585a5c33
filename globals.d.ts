// What mirada.viewer.script writes in front of the page's one module.
declare const CSS_TEXT: string;
declare const PROTOCOL: { TILE: number; WHOLE: number; [name: string]: any };
// The tour's page runs after that module and the tour's own script.
declare function show(element: Element, options: object): void;
declare function trial(host: Element, carried: object): void;
