// Gradio's screen "Loading" counts its seconds in every frame, and goes on when it has gone, as long as the page is open.
// Whatever counts seconds by frames does so once in a second.
{
  const SECOND = 1000;
  const nextFrame = window.requestAnimationFrame.bind(window);
  const countsSeconds = (callback) => /performance\.now\(\).*\/\s*1e3/.test(String(callback));
  window.requestAnimationFrame = (callback) =>
    countsSeconds(callback) ? setTimeout(() => nextFrame(callback), SECOND) : nextFrame(callback);
}
