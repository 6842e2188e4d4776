// From a query and a key to a weight. props.value: {who, query, key, products, channels, dot, score, bias, weight, allowed}.
const box = find(".tl-strips");
const sum = find(".tl-sum");
const GAP = 16;

const strip = (context, name, numbers, largest, top, height, width) => {
  context.fillStyle = colour("--tl-axis");
  drawText(context, name, 0, top + height / 2, "left", "middle");
  const [left, middle] = [48, top + height / 2];
  const slot = (width - left) / numbers.length;
  numbers.forEach((number, i) => {
    const bar = (Math.abs(number) / largest) * (height / 2 - 1);
    context.fillStyle = `rgb(${channels(number < 0 ? "--tl-minus" : "--tl-plus")})`;
    context.fillRect(left + i * slot + 0.5, number < 0 ? middle : middle - bar, Math.max(1, slot - 1.5), bar);
  });
  context.fillStyle = colour("--tl-axis");
  context.fillRect(left, middle, width - left, 0.75);
};

const draw = () => {
  const value = props.value;
  if (!value || !value.who) return;
  const [width, height] = [box.clientWidth, box.clientHeight];
  const context = fit(box.querySelector("canvas"), width, height);
  context.font = `12px ${getComputedStyle(element).fontFamily}`;
  const strips = [["q", value.query], ["k", value.key], ["q × k", value.products]];
  const each = (height - 2 * GAP) / 3;
  strips.forEach(([name, numbers], i) => {
    strip(context, name, decodeSigned(numbers), numbers.largest, i * (each + GAP), each, width);
  });
  find(".tl-who").textContent = `${value.who[0]} looks at ${value.who[1]}`;
  const line = (name, result) => make("li", "", make("span", "", name), make("b", "", result));
  const masked = value.bias === null;
  sum.replaceChildren(
    line(`the ${value.channels} products add up to`, numberText(value.dot)),
    line(`divided by √${value.channels}${value.cap ? `, capped at ${value.cap}` : ""}: the score`, numberText(value.score)),
    line("after position bias and mask", masked ? "−∞" : `${value.bias < 0 ? "−" : "+"} ${Math.abs(value.bias).toFixed(2)} = ${numberText(value.score + value.bias)}`),
    line(`softmax over ${value.allowed} token${value.allowed === 1 ? "" : "s"}: the weight`, value.weight.toFixed(3)),
  );
  box.setAttribute("aria-label", `Query of ${value.who[0]}, key of ${value.who[1]} and their products in ${value.channels} channels; they add up to ${numberText(value.dot)}.`);
};
keepDrawn(box, draw);
