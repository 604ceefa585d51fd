#!/usr/bin/env python3
"""Events as the first producers send them: the workflow and the agent family of the catalogue, with their
chains of cause.

    events.py --count 3000 [--seed 7] [--tenant T]  > events.jsonl

One JSON envelope a line, in order of time, ready for `sidelog append --jsonl`. The same seed and start give
the same lines; by default both are fresh. Shapes differ on purpose, as they do in the field: workflow
envelopes, platform payloads with their own correlation id, and flat agent events with no event type and no
correlation of their own.
"""
import argparse
import json
import random
import time

BRIDGE = "dev.omninode_bridge.onex.evt."
AGENTS = "dev.omninode_bridge.agents.evt."
PLATFORM = "omninode.agent."


class Maker:
    def __init__(self, seed, start):
        self.random = random.Random(seed)
        self.start = start
        self.made = []

    def uuid7(self, at):
        """RFC 9562, section 5.7."""
        value = int(at * 1000) << 80 | 7 << 76 | self.random.getrandbits(12) << 64 | 2 << 62 | self.random.getrandbits(62)
        text = f"{value:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    @staticmethod
    def stamp(at):
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"

    def put(self, at, event):
        self.made.append((at, len(self.made), event))

    # -- the workflow family

    def workflow(self, at):
        rnd = self.random
        correlation, workflow = self.uuid7(at), f"wf-{rnd.randrange(1 << 32):08x}"

        def emit(delay, topic, kind, state, cause, node, payload):
            nonlocal at
            at += delay
            event_id = self.uuid7(at)
            self.put(at, {
                "event_id": event_id, "correlation_id": correlation, "causation_id": cause or correlation,
                "event_type": kind, "timestamp": self.stamp(at), "topic": BRIDGE + topic,
                "workflow_id": workflow, "workflow_state": state, "partition_key": correlation,
                "metadata": {"source_node": node, "node_version": "1.4.2", "environment": "dev"},
                "payload": payload,
            })
            return event_id

        path = f"src/module_{rnd.randrange(400):03d}.py"
        root = emit(0, "stamp-workflow-started.v1", "WORKFLOW_STARTED", "RUNNING", None, "orchestrator",
                    {"file": path})
        emit(rnd.uniform(.001, .004), "workflow-state-transition.v1", "STATE_TRANSITION", "RUNNING", root,
             "orchestrator",
             {"from": "PENDING", "to": "RUNNING"})
        asked = emit(rnd.uniform(.004, .02), "onextree-intelligence-requested.v1", "INTELLIGENCE_REQUESTED",
                     "RUNNING", root,
                     "orchestrator", {"file": path, "depth": rnd.randrange(1, 5)})
        emit(rnd.uniform(.3, 2.4), "onextree-intelligence-received.v1", "INTELLIGENCE_RECEIVED", "RUNNING", asked,
             "onextree",
             {"confidence": round(rnd.random(), 3), "findings": rnd.randrange(12)})
        digest = f"{rnd.getrandbits(256):064x}"
        hashed = emit(rnd.uniform(.001, .005), "blake3-hash-generated.v1", "HASH_GENERATED", "RUNNING", root,
                      "stamper",
                      {"hash": digest, "bytes": rnd.randrange(200, 80000)})
        if rnd.random() < .06:
            emit(rnd.uniform(.01, .3), "stamp-workflow-failed.v1", "WORKFLOW_FAILED", "FAILED", hashed,
                 "orchestrator",
                 {"error_message": "stamp service answered 503", "duration_ms": rnd.randrange(400, 4000)})
            return
        stamped = emit(rnd.uniform(.004, .03), "metadata-stamp-created.v1", "STAMP_CREATED", "RUNNING", hashed,
                       "stamper",
                       {"stamp_id": f"st-{rnd.randrange(1 << 40):010x}", "hash": digest})
        emit(rnd.uniform(.001, .003), "workflow-step-completed.v1", "STEP_COMPLETED", "RUNNING", stamped,
             "orchestrator",
             {"step": "stamp", "duration_ms": rnd.randrange(5, 90)})
        emit(rnd.uniform(.02, .25), "stamp-workflow-completed.v1", "WORKFLOW_COMPLETED", "COMPLETED", root,
             "orchestrator",
             {"duration_ms": rnd.randrange(400, 4000), "step_results": {"stamp": "ok"}})

    # -- the agent family

    def agent(self, at):
        rnd = self.random
        correlation, session = self.uuid7(at), f"s-{rnd.randrange(1 << 24):06x}"
        name = rnd.choice(("agent-api-architect", "agent-debug", "agent-test-writer", "agent-security-audit",
                           "agent-docs"))
        request = rnd.choice(("add pagination to the orders API", "why is the build red?",
                              "write tests for the parser",
                              "explain the retry policy", "r\u00e9viser la documentation \u2713"))

        def platform(delay, action, cause, payload):
            nonlocal at
            at += delay
            event_id, kind = self.uuid7(at), f"{PLATFORM}{action}.v1"
            self.put(at, {
                "event_type": kind, "event_id": event_id, "timestamp": self.stamp(at),
                "tenant_id": "omninode_bridge",
                "namespace": "agents", "source": "agent-workflow-coordinator", "correlation_id": correlation,
                "causation_id": cause or correlation, "topic": kind, "partition_key": correlation,
                "schema_ref": f"registry://omninode/agent/{action.replace('.', '-')}/v1",
                "payload": {"correlation_id": correlation, **payload},
            })
            return event_id

        def flat(delay, topic, fields, known):
            nonlocal at
            at += delay
            self.put(at, {
                "event_id": self.uuid7(at), "timestamp": self.stamp(at), "topic": AGENTS + topic, **fields,
                "context": {"domain": "backend", **({"correlation_id": correlation} if known else {})},
            })

        asked = platform(0, "routing.requested", None, {"user_request": request, "session_id": session})
        score = round(rnd.uniform(.55, .99), 3)
        flat(rnd.uniform(.002, .01), "agent-routing-decision.v1", {
            "user_request": request, "selected_agent": name, "confidence_score": score, "alternatives": [],
            "reasoning": "trigger match", "routing_strategy": "enhanced_fuzzy",
            "routing_time_ms": rnd.randrange(2, 60)}, True)
        routed = platform(rnd.uniform(.001, .01), "routing.completed", asked,
                          {"selected_agent": name, "confidence_score": score})
        started = platform(rnd.uniform(.005, .05), "execution.started", routed,
                           {"agent_name": name, "user_request": request, "session_id": session,
                            "started_at": self.stamp(at)})
        platform(rnd.uniform(.002, .02), "provider.selected", started,
                 {"provider_name": "local", "model_name": "m-7b", "selection_reason": "latency"})
        if rnd.random() < .4:
            flat(rnd.uniform(.001, .01), "agent-performance-metric.v1", {
                "query_text": request, "routing_duration_ms": rnd.randrange(2, 60), "cache_hit": rnd.random() < .5,
                "trigger_match_strategy": "fuzzy", "candidates_evaluated": rnd.randrange(1, 9)}, False)
        if rnd.random() < .12:
            platform(rnd.uniform(.2, 3), "execution.failed", started,
                     {"agent_name": name, "error_type": "Timeout", "error_message": "no answer within 3 s"})
            return
        passed = rnd.random() < .85
        gate = platform(rnd.uniform(.2, 2), f"quality.gate.{'passed' if passed else 'failed'}", started,
                        {"gate_name": "complexity", "score": round(rnd.uniform(.3, 1), 2), "threshold": .5})
        platform(rnd.uniform(.01, .2), "execution.completed", gate,
                 {"agent_name": name, "duration_ms": rnd.randrange(200, 4000), "quality_score": score,
                  "output_summary": "done"})

    def make(self, count):
        at = self.start
        while len(self.made) < count:
            at += self.random.expovariate(8)
            (self.workflow if self.random.random() < .6 else self.agent)(at)
        self.made.sort()
        return [event for _, _, event in self.made[:count]]


def generate(count, seed=None, start=None):
    """`count` events as dictionaries."""
    if seed is None:
        seed = random.SystemRandom().getrandbits(64)
    return Maker(seed, start if start is not None else time.time() - count / 60).make(count)


def lines(count, seed=None, start=None):
    """The same as bytes, one JSON object each."""
    return [json.dumps(e, ensure_ascii=False, separators=(",", ":")).encode()
            for e in generate(count, seed, start)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--start", type=float, help="seconds since 1970 of the first event")
    options = parser.parse_args()
    with open(1, "wb", closefd=False) as out:
        out.write(b"".join(line + b"\n" for line in lines(options.count, options.seed, options.start)))
