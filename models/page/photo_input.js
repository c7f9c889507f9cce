// What the photo's place on the page does. Gradio runs it with element, props, trigger, upload.
// Events: "input": a photo was given; "upload": it is on the server, in props.value; "clear": it
// will not be answered, for the reason in element.dataset.problem.
const find = (part) => element.querySelector(part);
const [file, camera] = element.querySelectorAll("input");
const isTouch = matchMedia("(pointer: coarse)").matches;
let turn = 0; // an upload that is overtaken by a later one is dropped
let stream = null;

function refuse(problem) {
  element.dataset.problem = problem;
  trigger("clear");
}

async function give(photo) {
  if (!photo) return;
  stop();
  const mine = ++turn;
  trigger("input");
  if (photo.size > props.max_bytes) return refuse(props.too_heavy);
  try {
    const { path, url } = await upload(photo);
    if (mine !== turn) return;
    props.value = { path, url, orig_name: photo.name, meta: { _type: "gradio.FileData" } };
    trigger("upload");
  } catch {
    if (mine === turn) refuse("It could not be sent; check the connection and try again.");
  }
}

// The webcam. Phones have a camera application, which the second input opens.
async function start() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch {
    return refuse("The camera cannot be used; allow it in the browser, or choose a photo.");
  }
  find("video").srcObject = stream;
  await find("video").play();
  show(true);
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  show(false);
}

function show(isFilming) {
  element.classList.toggle("filming", isFilming);
  for (const part of ["video", ".snap", ".stop"]) find(part).hidden = !isFilming;
  for (const part of [".drop", ".choose", ".take"]) find(part).hidden = isFilming;
  // Over plain http, browsers give other machines no webcam.
  if (!isTouch && !navigator.mediaDevices) find(".take").hidden = true;
}

function snap() {
  const video = find("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0); // not mirrored: the network would see that
  canvas.toBlob((blob) => give(new File([blob], "webcam.jpg")), "image/jpeg", 0.95);
}

find(".zone").onclick = find(".choose").onclick = () => stream || file.click();
find(".take").onclick = () => (isTouch ? camera.click() : start());
find(".snap").onclick = snap;
find(".stop").onclick = stop;
for (const input of [file, camera]) {
  input.onchange = () => {
    give(input.files[0]);
    input.value = ""; // the same photo again counts, too
  };
}
for (const button of element.querySelectorAll(".examples button")) {
  button.onclick = async () => {
    const { src } = button.firstChild;
    give(new File([await (await fetch(src)).blob()], src.split("/").pop()));
  };
}

// Anywhere on the page, also while a photo is shown; other tabs have places of their own to drop.
const isSeen = () => element.offsetParent !== null;
document.addEventListener("dragover", (event) => isSeen() && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!isSeen()) return;
  event.preventDefault();
  give(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => isSeen() && give(event.clipboardData.files[0]));
show(false);
