import { begin } from "./frame.js";

begin(() => {});
