// A server that does not answer: the page says so, and looks for it until it is back.
() => {
  const SECONDS = { between: 10, away: 2, answer: 10 };
  const MOST_LOST = 1;  // of the requests in a row that may be lost on their way
  let lost = 0, timer = 0;
  const tell = away => {
    const notice = document.getElementById("server-away");
    if (!notice || notice.hidden !== away) return;
    notice.hidden = !away;
    document.body.classList.toggle("tl-away", away);
    if (!away) document.getElementById("reconnect")?.click();
  };
  const look = async () => {
    clearTimeout(timer);
    const signal = AbortSignal.timeout(1000 * SECONDS.answer);
    const answer = await fetch("gradio_api/app_id", { cache: "no-store", signal }).catch(() => null);
    lost = answer?.ok ? 0 : lost + 1;
    tell(lost > MOST_LOST);
    clearTimeout(timer);
    timer = setTimeout(look, 1000 * (lost ? SECONDS.away : SECONDS.between));
  };
  addEventListener("offline", look);
  addEventListener("online", look);
  timer = setTimeout(look, 1000 * SECONDS.between);
}
