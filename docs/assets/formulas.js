// Renders the formulas that pymdownx.arithmatex has marked; one that KaTeX cannot read stays as it is.
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    const source = element.textContent.trim();
    const displayMode = element.tagName === "DIV";
    try {
      katex.render(source.slice(2, -2), element, { displayMode, throwOnError: true });
    } catch (error) {
      console.error(error);
      element.textContent = source;
    }
  }
});
