// Colours: a scale whose steps look equally large, and as many distinct colours as there are heads.

/** OKLab lightness, chroma and hue (Ottosson 2020) to sRGB bytes. */
function oklch(lightness, chroma, degrees) {
  const angle = (degrees * Math.PI) / 180;
  const [a, b] = [chroma * Math.cos(angle), chroma * Math.sin(angle)];
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map(toByte);
}

function toByte(linear) {
  const light = Math.min(1, Math.max(0, linear));
  return Math.round(255 * (light > 0.0031308 ? 1.055 * light ** (1 / 2.4) - 0.055 : 12.92 * light));
}

function between(x, xs, ys) {
  const at = Math.max(
    1,
    xs.findIndex((edge) => x <= edge),
  );
  return ys[at - 1] + ((x - xs[at - 1]) / (xs[at] - xs[at - 1])) * (ys[at] - ys[at - 1]);
}

/** 256 colours from nothing to all, straight in lightness: pale to deep on paper, deep to bright in the dark. */
function evenScale(dark) {
  return Array.from({ length: 256 }, (_, step) => {
    const along = step / 255;
    if (dark)
      return oklch(
        0.215 + 0.735 * along,
        between(along, [0, 0.25, 0.6, 1], [0.018, 0.09, 0.125, 0.09]),
        262 - 162 * along ** 1.25,
      );
    const chroma = between(along, [0, 0.2, 0.45, 0.8, 1], [0.015, 0.075, 0.105, 0.125, 0.12]);
    return oklch(0.985 - 0.715 * along, chroma, 112 + 158 * along ** 0.8);
  });
}

const SCALES = new Map();

/** The scale as packed RGBA words, ready for ImageData. */
export function scaleWords(dark) {
  if (!SCALES.has(dark)) {
    SCALES.set(
      dark,
      Uint32Array.from(evenScale(dark), ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r),
    );
  }
  return SCALES.get(dark);
}

/** One colour of the scale, at 0 … 1, as CSS. */
export function scaleColour(share, dark) {
  return css(bytesAt(share, dark));
}

function bytesAt(share, dark) {
  const word = scaleWords(dark)[Math.round(255 * Math.min(1, Math.max(0, share)))];
  return [word & 255, (word >> 8) & 255, (word >> 16) & 255];
}

/** The colour of what is no finite number, on no scale: NaN, ∞. */
export const NOT_FINITE = [214, 0, 110];
export const NOT_FINITE_WORD = ((255 << 24) | (NOT_FINITE[2] << 16) | (NOT_FINITE[1] << 8) | NOT_FINITE[0]) >>> 0;

/** −1 … 1: positive in the scale's colours, negative in a warm one that the colour-blind tell from it; null for no number. */
export function signedColour(share, dark) {
  if (!Number.isFinite(share)) return null;
  if (share >= 0) return bytesAt(0.85 * share, dark);
  const [warm, paper] = dark
    ? [
        [236, 140, 70],
        [16, 22, 27],
      ]
    : [
        [190, 84, 0],
        [251, 250, 246],
      ];
  const part = 0.06 - 0.9 * share;
  return paper.map((byte, n) => Math.round(byte + part * (warm[n] - byte)));
}

const SIGNED = new Map();

/** 511 colours as packed RGBA words, from −1 (the first) over 0 (the 256th) to 1. */
export function signedWords(dark) {
  if (!SIGNED.has(dark)) {
    const words = Array.from({ length: 511 }, (_, n) => signedColour((n - 255) / 255, dark));
    SIGNED.set(
      dark,
      Uint32Array.from(words, ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r),
    );
  }
  return SIGNED.get(dark);
}

/** Black or white, whichever is read better on a colour, [r, g, b]: never with less than 4.5 : 1. */
export function inkOn(bytes) {
  const [r, g, b] = bytes.map((byte) => (byte <= 10 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** The same on a colour of the scale, at 0 … 1. */
export function inkOnScale(share, dark) {
  return inkOn(bytesAt(share, dark));
}

/** The colour of a head, [r, g, b]: hues a golden angle apart, lightness in turn, so that any number stays distinct. */
export function headColour(head, dark) {
  const lightness = (dark ? [0.76, 0.86, 0.67] : [0.56, 0.47, 0.65])[head % 3];
  return oklch(lightness, 0.135 - 0.008 * (Math.floor(head / 24) % 6), 250 + 137.508 * head);
}

/** @param {number[]} bytes red, green, blue @param {number} [alpha] */
export function css([r, g, b], alpha = 1) {
  return alpha === 1 ? `rgb(${r} ${g} ${b})` : `rgb(${r} ${g} ${b} / ${alpha.toFixed(3)})`;
}

/** The frame's colours, for canvases and figures, which know no style sheets. */
export function palette(dark) {
  return dark
    ? {
        paper: "#10161b",
        ink: "#e7eaec",
        soft: "#a3b0b9",
        line: "#2b363f",
        accent: "#6cc0ee",
        warm: "#ff9d5c",
        warmBytes: [255, 157, 92],
        accentBytes: [108, 192, 238],
      }
    : {
        paper: "#fbfaf6",
        ink: "#1d2a35",
        soft: "#56636d",
        line: "#d8d6cd",
        accent: "#00629b",
        warm: "#b34700",
        warmBytes: [179, 71, 0],
        accentBytes: [0, 98, 155],
      };
}
