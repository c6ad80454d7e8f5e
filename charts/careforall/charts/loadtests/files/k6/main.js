// The table played by k6, in an open model: visits begin when they are due, whether earlier ones are over or not.
// FOLDER holds order.json (written by `careforall_load`), or ORDER names it (the chart's Jobs, which give secret and run by variables);
// what was promised is printed, one JSON line each.
import http from 'k6/http';
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';
import { begin, filled, kept, listed, promised } from './visit.js';

const order = JSON.parse(open(__ENV.ORDER || `${__ENV.FOLDER}/order.json`));
order.secret = order.secret || (__ENV.CAREFORALL_LOAD_WEBHOOK_SECRET || '').split(',')[0];
order.run = order.run || __ENV.CAREFORALL_LOAD_RUN;
const scenarios = order.scenarios.map((name) => ({ name, ...order.table.scenarios[name] }));
const steps = scenarios.flatMap((scenario) => scenario.steps.map((step) => ({ name: `${scenario.name}/${step.name}`, step })));

const took = new Trend('step_took', true);
const failed = new Rate('step_failed');
const visits = new Counter('visits');

const peak = Math.max(...order.profile.stages.map((stage) => stage.rate));
const stages = order.profile.stages.map(({ seconds, rate }) => ({ duration: `${Math.round(seconds * 1000)}ms`, target: Math.max(1, Math.round(rate * 60)) }));
const first = stages.length === 1 ? stages[0].target : 0;

// A submetric is only kept where a threshold names it; these thresholds always hold, the runner judges.
const thresholds = Object.fromEntries(steps.flatMap(({ name }) => [
  [`step_took{step:${name}}`, ['max>=0']],
  [`step_failed{step:${name}}`, ['rate<=1']],
]));

export const options = {
  thresholds,
  summaryTrendStats: ['med', 'p(95)', 'p(99)'],
  noConnectionReuse: false,
  scenarios: {
    visits: {
      executor: 'ramping-arrival-rate',
      startRate: first,
      timeUnit: '1m',
      stages,
      preAllocatedVUs: Math.max(2, Math.ceil(peak / 2)),
      maxVUs: Math.max(10, Math.ceil(peak * 5)),
      gracefulStop: '30s',
    },
  },
};

export function setup() {
  return Object.fromEntries(order.table.before.map((lookup) => {
    const answer = http.get(order.url + lookup.path, { headers: order.headers });
    if (answer.status !== 200) exec.test.abort(`${lookup.path} answered ${answer.status}: ${answer.error || answer.body}`);
    return [lookup.value, listed(lookup, answer.json())];
  }));
}

function chosen() {
  let mark = Math.random() * scenarios.reduce((sum, scenario) => sum + scenario.weight, 0);
  return scenarios.find((scenario) => (mark -= scenario.weight) < 0) || scenarios[0];
}

function sent(name, step, values) {
  const request = filled(order, step, values);
  const again = step.retry || { statuses: [], times: 0 };
  const tags = { name };
  for (let tries = 0; ; tries += 1) {
    const answer = http.request(request.method, order.url + request.path, request.body, { headers: request.headers, tags });
    const good = step.expect.includes(answer.status);
    const over = (step.ends || []).includes(answer.status);
    if (good || over || tries >= again.times || !again.statuses.includes(answer.status)) {
      took.add(answer.timings.duration, { step: name });
      failed.add(!good && !over, { step: name });
      if (!good && !over) console.warn(`${name}: ${answer.status} ${answer.error || String(answer.body).slice(0, 200)}`);
      return good ? answer : null;
    }
    sleep(again.seconds);
  }
}

export default function visit(lists) {
  const scenario = chosen();
  const values = begin(order, lists, exec.scenario.iterationInTest + 1);
  visits.add(1);
  for (const step of scenario.steps) {
    const answer = sent(`${scenario.name}/${step.name}`, step, values);
    if (answer === null) return;
    if (step.keep) Object.assign(values, kept(step, answer.json()));
    const promise = promised(step, values);
    if (promise) console.log(JSON.stringify(promise));
  }
}

export function handleSummary(data) {
  const told = {};
  for (const { name } of steps) {
    const times = data.metrics[`step_took{step:${name}}`];
    const rate = data.metrics[`step_failed{step:${name}}`];
    if (!times || !rate || rate.values.passes + rate.values.fails === 0) continue;
    told[name] = {
      requests: rate.values.passes + rate.values.fails,
      failed: rate.values.passes,
      p50: times.values.med,
      p95: times.values['p(95)'],
      p99: times.values['p(99)'],
    };
  }
  const count = (name) => (data.metrics[name] ? data.metrics[name].values.count : 0);
  const played = {
    tool: 'k6',
    seconds: data.state.testRunDurationMs / 1000,
    visits: count('visits'),
    dropped: count('dropped_iterations'),
    steps: told,
  };
  return { [`${__ENV.FOLDER}/played.json`]: JSON.stringify(played) };
}
