"use strict";
// Text of photos goes into the page through textContent only: names can be anybody's.
const [world, photos] = ["world", "photos"].map((id) =>
  JSON.parse(document.getElementById(id).textContent));
const KINDS = { sure: "sure", maybe: "maybe", estimated: "estimated", unplaced: "without a place" };
const PLACED = ["sure", "maybe", "estimated"];
const LISTED = 100; // entries of a list before "more"
const CLOSE_ZOOM = 12; // there are no streets to see: from here on, a cluster is a list
const BARS = 60; // of the time line, at most
const KEY_LENGTHS = [13, 10, 7, 4]; // characters of a time that name its hour, day, month, year
const shown = new Set(PLACED);
let period = null; // first and last key of the time line that are shown; null: all

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.onclick = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// --- the map ------------------------------------------------------------------------------------

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
const placed = photos.filter((photo) => photo.at);
const west = findWest(placed.map((photo) => photo.at[1]));
const eastward = (longitude) => (longitude < west ? longitude + 360 : longitude);
const map = L.map("map", { preferCanvas: true, minZoom: 0, maxZoom: 17, zoomSnap: 0.5 });
map.attributionControl.setPrefix("Leaflet").addAttribution("Natural Earth");
L.control.scale().addTo(map);
const land = topojson.feature(world, world.objects.land);
land.features.flatMap(({ geometry }) => geometry.coordinates.flat()).forEach(unroll);
const borders = topojson.mesh(world, world.objects.countries, (one, other) => one !== other);
for (const turn of [-360, 0, 360]) { // for albums and islands beyond the date line
  const coordsToLatLng = ([east, north]) => [north, east + turn];
  const common = { interactive: false, coordsToLatLng };
  const fill = { stroke: false, fillColor: colour("--land"), fillOpacity: 1 };
  L.geoJSON(land, { ...common, style: fill }).addTo(map);
  L.geoJSON(borders, { ...common, style: { color: colour("--border"), weight: 1 } }).addTo(map);
}
const markers = L.layerGroup().addTo(map);
const circles = L.layerGroup().addTo(map); // how far estimates may be off
let index;

// Remove a ring's jump from one edge of the map to the other; Antarctica's goes round the pole.
function unroll(ring) {
  for (let i = 1; i < ring.length; i++) {
    ring[i] = [ring[i][0] + 360 * Math.round((ring[i - 1][0] - ring[i][0]) / 360), ring[i][1]];
  }
  const [first, last] = [ring[0], ring.at(-1)];
  if (Math.abs(last[0] - first[0]) > 180) ring.push([last[0], -90], [first[0], -90]);
}

// The western edge of the strip that holds all photos: -180, unless the album is a trip across the
// date line.
function findWest(longitudes) {
  const sorted = [...longitudes].sort((a, b) => a - b);
  let [edge, widest] = [-180, sorted.length ? sorted[0] + 360 - sorted.at(-1) : 360];
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i] - sorted[i - 1] > widest) {
      [edge, widest] = [sorted[i], sorted[i] - sorted[i - 1]];
    }
  }
  return widest > 180 ? edge : -180; // albums of all the world look as maps do
}

function refresh() {
  index = new Supercluster({
    radius: 64,
    extent: 256,
    maxZoom: 17,
    map: ({ photo }) => ({ cover: photo, ...shareOf(photo) }),
    reduce: (all, part) => {
      for (const kind of PLACED) all[kind] += part[kind];
      if (all.where === null) all.where = part.where;
      else if (part.where !== null && part.where !== all.where) all.where = "";
      const better = PLACED.indexOf(part.cover.certainty) < PLACED.indexOf(all.cover.certainty);
      if (!all.cover.thumbnail || (better && part.cover.thumbnail)) all.cover = part.cover;
    },
  });
  index.load(placed.filter((photo) => shown.has(photo.certainty) && inPeriod(photo)).map((photo) => ({
    type: "Feature",
    geometry: { type: "Point", coordinates: [photo.at[1], photo.at[0]] },
    properties: { photo },
  })));
  draw();
}

function shareOf(photo) {
  const share = Object.fromEntries(PLACED.map((kind) => [kind, Number(kind === photo.certainty)]));
  return { ...share, where: photo.where || null }; // blank: several places
}

function draw() {
  const view = map.getBounds().pad(0.2);
  const box = [view.getWest(), view.getSouth(), view.getEast(), view.getNorth()];
  markers.clearLayers();
  for (const { properties, geometry } of index.getClusters(box, Math.floor(map.getZoom()))) {
    const [longitude, latitude] = geometry.coordinates;
    const at = [latitude, eastward(longitude)];
    const marker = properties.cluster ? clusterMarker(properties, at) : photoMarker(properties.photo, at);
    markers.addLayer(marker);
  }
}

function photoMarker(photo, at) {
  const face = element("div", { class: `pin ${photo.certainty}` });
  if (photo.thumbnail) face.append(thumbnail(photo));
  const size = photo.thumbnail ? 50 : 26;
  return marker(at, face, size, [photo.title, photo.where, KINDS[photo.certainty], photo.photo],
    () => list(photo.title || "One photo", [photo]));
}

function clusterMarker(cluster, at) {
  const face = element("div", { class: "cluster" });
  face.append(cluster.cover.thumbnail ? thumbnail(cluster.cover) : element("span", { class: "blank" }));
  face.append(element("span", { class: "count" }, cluster.point_count.toLocaleString("en")));
  if (cluster.where) face.append(element("span", { class: "place" }, cluster.where.split(", ")[0]));
  let end = 0;
  const parts = PLACED.map((kind) => {
    const start = end;
    end += (100 * cluster[kind]) / cluster.point_count;
    return `var(--${kind}) ${start}% ${end}%`;
  });
  face.style.background = `conic-gradient(${parts.join()})`;
  return marker(at, face, 58, [`${cluster.point_count} photos`, cluster.where], () => {
    const zoom = index.getClusterExpansionZoom(cluster.cluster_id);
    if (zoom <= CLOSE_ZOOM) map.setView(at, zoom);
    else {
      const photos = index.getLeaves(cluster.cluster_id, Infinity).map((leaf) => leaf.properties.photo);
      list(cluster.where || "Here", photos);
    }
  });
}

function marker(at, html, size, words, onclick) {
  html.style.width = html.style.height = `${size}px`;
  const icon = L.divIcon({ html, className: "", iconSize: [size, size] });
  const alt = words.filter(Boolean).join(", ");
  const made = L.marker(at, { icon, riseOnHover: true }).on("click", onclick);
  made.on("keypress", ({ originalEvent }) => originalEvent.key === "Enter" && onclick());
  return made.on("add", () => made.getElement().setAttribute("aria-label", alt));
}

function thumbnail(photo) {
  return element("img", { src: `data:image/webp;base64,${photo.thumbnail}`, alt: "", draggable: false });
}

// --- lists of photos ----------------------------------------------------------------------------

const panel = document.getElementById("panel");

function list(title, photos) {
  const items = element("ul");
  const more = element("button", { class: "more", onclick: add }, "More");
  let count = 0;
  function add() {
    items.append(...photos.slice(count, count + LISTED).map(entry));
    count += LISTED;
    more.hidden = count >= photos.length;
  }
  add();
  const close = element("button", { class: "close", "aria-label": "Close", onclick: hide }, "×");
  const heading = element("h2", { tabindex: -1 }, `${title} (${photos.length.toLocaleString("en")})`);
  panel.replaceChildren(element("div", { class: "top" }, heading, close), items, more);
  panel.hidden = false;
  panel.scrollTop = 0;
  map.invalidateSize();
  heading.focus({ preventScroll: true });
  circles.clearLayers();
  if (photos.length === 1) circle(photos[0]);
}

function hide() {
  panel.hidden = true;
  circles.clearLayers();
  map.invalidateSize();
}

function entry(photo) {
  const item = element("div");
  const says = (text, className = "soft") => text && item.append(element("p", { class: className }, text));
  says(photo.title, "title");
  const kind = element("p", {}, element("span", { class: `dot ${photo.certainty}` }), KINDS[photo.certainty]);
  if (photo.radius_km !== null) kind.append(`, within ${Math.max(0.1, photo.radius_km).toPrecision(2) * 1} km`);
  item.append(kind);
  says(photo.misfit, "misfit");
  says(photo.error, "misfit");
  says(photo.where);
  says(photo.taken.replace("T", " "));
  if (photo.source) says(`position: ${photo.source}`);
  const folders = photo.photo.split(/(?<=\/)/).flatMap((part) => [part, element("wbr")]);
  item.append(element("a", { href: photo.href, target: "_blank" }, ...folders));
  if (photo.at) {
    const go = element("button", { onclick: () => goTo(photo) }, "On the map");
    item.append(element("br"), go);
  }
  const picture = element("a", { href: photo.href, target: "_blank", tabindex: -1, "aria-hidden": true });
  if (photo.thumbnail) picture.append(thumbnail(photo));
  return element("li", {}, picture, item);
}

function goTo(photo) {
  circles.clearLayers();
  if (innerWidth <= 640) hide(); // there the list lies over the map
  const at = [photo.at[0], eastward(photo.at[1])];
  if (photo.radius_km) map.fitBounds(L.latLng(at).toBounds(2000 * photo.radius_km));
  else map.setView(at, Math.max(map.getZoom(), 10));
  circle(photo);
}

function circle(photo) {
  if (!photo.radius_km) return;
  const style = { radius: 1000 * photo.radius_km, color: colour("--estimated"), dashArray: "6", weight: 2 };
  L.circle([photo.at[0], eastward(photo.at[1])], { ...style, interactive: false }).addTo(circles);
}

// --- what is shown ------------------------------------------------------------------------------

function chip(label, onclick, extra = {}) {
  const made = element("button", { onclick, ...extra }, label);
  document.getElementById("kinds").append(made);
  return made;
}

for (const kind of PLACED) {
  const count = photos.filter((photo) => photo.certainty === kind).length;
  if (!count) continue;
  const made = chip(`${count.toLocaleString("en")} ${KINDS[kind]}`, () => {
    shown.has(kind) ? shown.delete(kind) : shown.add(kind);
    made.setAttribute("aria-pressed", shown.has(kind));
    refresh();
  }, { "aria-pressed": true });
  made.prepend(element("span", { class: `dot ${kind}` }));
}
for (const [title, found] of [
  ["Without a place", photos.filter((photo) => !photo.at)],
  ["Does not fit", photos.filter((photo) => photo.misfit)],
]) {
  if (found.length) chip(`${title}: ${found.length.toLocaleString("en")}`, () => list(title, found.filter(inPeriod)));
}

// --- the time line ------------------------------------------------------------------------------

// Times are text in the time zone of the camera, so that a bar is a day as the traveller knew it.
const distinct = (length) => new Set(photos.map((photo) => photo.taken.slice(0, length)));
const precision = KEY_LENGTHS.find((length) => distinct(length).size <= BARS) ?? KEY_LENGTHS.at(-1);
const keyOf = (photo) => photo.taken.slice(0, precision);

function inPeriod(photo) {
  return !period || (period[0] <= keyOf(photo) && keyOf(photo) <= period[1]);
}

function drawTimeLine() {
  const counts = new Map();
  for (const key of photos.map(keyOf)) counts.set(key, (counts.get(key) ?? 0) + 1);
  if (counts.size < 2) return;
  const most = Math.max(...counts.values());
  const footer = document.getElementById("time");
  let dragged = null; // the key where a drag began
  const mark = () => {
    for (const bar of footer.children) bar.setAttribute("aria-pressed", isChosen(bar.dataset.key));
    refresh();
  };
  const isChosen = (key) => period !== null && period[0] <= key && key <= period[1];
  for (const key of [...counts.keys()].sort()) {
    const bar = element("button", { "aria-pressed": false, title: `${key || "no date"}: ${counts.get(key)} photos` },
      element("i"), labelOf(key));
    bar.dataset.key = key;
    bar.firstChild.style.height = `${(40 * counts.get(key)) / most}px`;
    bar.onpointerdown = ({ pointerType }) => { if (pointerType === "mouse") dragged = key; };
    bar.onpointerup = () => {
      if (dragged !== null && dragged !== key) {
        period = [dragged, key].sort();
        mark();
      }
    };
    bar.onclick = ({ shiftKey }) => {
      if (shiftKey && period) period = [period[0], period[1], key].sort().filter((_, i) => i !== 1);
      else period = period && period[0] === key && period[1] === key ? null : [key, key];
      mark();
    };
    footer.append(bar);
  }
  addEventListener("pointerup", () => { dragged = null; });
}

function labelOf(key) {
  if (!key) return "no date";
  if (precision === 13) return `${key.slice(11)}:00`;
  const day = new Date(`${key.padEnd(10, "-01")}T00:00`);
  if (precision === 4 || isNaN(day)) return key;
  const month = { month: "short", ...(precision === 10 ? { day: "numeric" } : { year: "numeric" }) };
  return day.toLocaleDateString("en-GB", month);
}

// --- start --------------------------------------------------------------------------------------

addEventListener("keydown", ({ key }) => key === "Escape" && hide());
map.on("moveend", () => index && draw());
drawTimeLine();
map.invalidateSize();
if (placed.length) {
  const bounds = L.latLngBounds(placed.map((photo) => [photo.at[0], eastward(photo.at[1])]));
  map.fitBounds(bounds, { padding: [50, 50], maxZoom: CLOSE_ZOOM, animate: false });
} else map.setView([30, 10], 2);
refresh();
