// The console's own scripts, one module a concern. The server draws; these move focus, colour, charts and the queue.
import { startKeys } from "./keys.js";
import { startTheme } from "./theme.js";
import { startCharts } from "./charts.js";
import { startLive } from "./live.js";
import { startAsking } from "./asking.js";
import { startReview } from "./review.js";

startTheme();
startKeys(startReview());
startLive();
startAsking();
startCharts();
