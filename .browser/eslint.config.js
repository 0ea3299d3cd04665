// Rules for what the compiler of types does not see.
export default [{
  files: ["**/*.js", "**/*.mjs"],
  rules: {
    "no-unused-vars": ["error", { caughtErrors: "all" }],
    "no-eval": "error",
    "no-implied-eval": "error",
    "no-new-func": "error",
    "no-unused-expressions": "error",
    "no-shadow": "error",
    "no-var": "error",
    "prefer-const": "error",
    "eqeqeq": "error",
    "curly": "error",
    "quotes": ["error", "double", { avoidEscape: true }],
    "no-restricted-properties": ["error",
      { property: "outerHTML", message: "use html`…`" }, { property: "insertAdjacentHTML", message: "use html`…`" },
      { property: "write", object: "document", message: "use html`…`" }],
  },
}, {
  // Text becomes markup in one place.
  files: ["**/web/*.js"],
  ignores: ["**/web/html.js"],
  rules: { "no-restricted-syntax": ["error", { selector: "MemberExpression[property.name='innerHTML']", message: "use html`…`" }] },
}];
