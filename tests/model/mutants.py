#!/usr/bin/env python3
"""Seeds faults into copies of the library's sources: mutants.py SOURCE_ROOT OUTPUT_DIR

Writes mutated_<source>.cpp for each source and mutated_names.cpp. Every fault is a choice at
run time, by its name, so that one build holds all of them. A text that is not there, or there
more than once without saying which is meant, is an error: the fault would be in something else.
"""

import sys
from pathlib import Path

NOTHING = ";"

# By model and source: the fault's name; what is written, an expression or whole statements;
# what the fault makes of it; and where the text stands more than once, which one is meant.
MUTANTS = {
    ("mutex", "runtime/detail/wait_queue.cpp"): (
        ("a waiter is not woken", "one->wake();", NOTHING),
        (
            "the list is read after the wake-up",
            "first_ = one->next_;",
            "one->wake(); first_ = one->next_; continue;",
        ),
        ("who withdraws stays in the queue", "remove(one);", NOTHING, 1),
    ),
    ("mutex", "runtime/detail/locked_word.cpp"): (
        ("the queue lock has two holders", "!(word & bit)", "true"),
    ),
    ("mutex", "sync/detail/mutex_core.cpp"): (
        (
            "poison follows the hand-over",
            "change(&cause, false, repair_failed);",
            "change(nullptr, false, false); change(&cause, true, repair_failed);",
        ),
        ("the release does not poison", "word |= poisoned;", NOTHING),
        ("a batched lock that was handed over is free", "word |= held;", NOTHING, 3),
        ("who is granted a batched lock stays in a lane", "queue.remove(*next);", NOTHING),
        ("who fails at a batched lock stays in a lane", "queue.remove(each);", NOTHING),
        ("who was granted withdraws all the same", "return queued;", "return true;"),
        ("the queue is not announced", "word |= waiting;", NOTHING),
        ("a lock that was handed over is free", "word |= held;", NOTHING, 2),
        ("a lock that was acquired is free", "word |= held;", NOTHING, 1),
        (
            "who wants a healthy lock gets a poisoned one",
            "(word & poisoned) && waiter.wants_ == wants::healthy",
            "false",
        ),
        (
            "waiters stay when the lock is poisoned",
            "(word & poisoned) && is_refused(each->wants_, repair_failed)",
            "false",
        ),
        (
            "patience is served too early",
            "what == wants::anything || what == wants::repair",
            "what != wants::healthy",
        ),
        (
            "poison stays after a repair",
            "word_.unlock(word & ~poisoned);",
            "word_.unlock(word);",
        ),
        ("a waiter learns no cause", "give_cause(waiter);", NOTHING),
    ),
    ("mutex", "sync/detail/lanes.cpp"): (
        ("who withdraws stays in a lane", "remove(waiter);", NOTHING),
        ("a lane is forgotten", "entry->lane_ = &waiter;", NOTHING),
        (
            "a lane goes with its first",
            "before->lane_ = alone ? next_lane : next;",
            "before->lane_ = next_lane;",
        ),
    ),
    ("inbox", "runtime/executor.cpp"): (
        (
            "the worker sleeps without another look",
            "return inbox_empty();",
            "return true;",
        ),
        (
            "the worker does not say that it sleeps",
            "waker_->asleep.store(true, std::memory_order_seq_cst);",
            NOTHING,
        ),
        (
            "tasks made ready are not looked at before the sleep",
            "remote_ready_.load(std::memory_order_seq_cst) == nullptr",
            "true",
        ),
        (
            "posts are not looked at before the sleep",
            "inbox_.load(std::memory_order_seq_cst) == nullptr",
            "true",
        ),
        ("a task made ready does not wake", "waker->notify();", NOTHING, 1),
        ("a post does not wake", "waker->notify();", NOTHING, 2),
        ("only the second task made ready wakes", "!head", "head != nullptr", 1),
        ("only the second post wakes", "!head", "head != nullptr", 2),
        ("posts are not taken", "inbox_.load(std::memory_order_relaxed)", "nullptr", 2),
        (
            "posts are read and left",
            "inbox_.exchange(nullptr, std::memory_order_acquire)",
            "inbox_.load(std::memory_order_acquire)",
        ),
        (
            "tasks made ready are read and left",
            "remote_ready_.exchange(nullptr, std::memory_order_acquire)",
            "remote_ready_.load(std::memory_order_acquire)",
        ),
        ("a post forgets those before it", "work.next_ = head;", "work.next_ = nullptr;"),
        (
            "a task made ready forgets those before it",
            "ready.queue_link.next = head;",
            "ready.queue_link.next = nullptr;",
        ),
        ("only the newest post is kept", "newest = next;", "newest = nullptr;", 2),
    ),
    ("completion", "runtime/detail/completion_core.cpp"): (
        ("the last who could answer says nothing", "tell();", NOTHING),
        ("who leaves last frees nothing", "delete this;", NOTHING, 1),
        ("the waiter that leaves last frees nothing", "delete this;", NOTHING, 2),
        ("any copy that leaves breaks the wait", "seen < 2 * sender", "true"),
        ("an answered wait is broken, too", "!(seen & claimed)", "true"),
        ("who breaks the wait does not claim it", "(breaks ? claimed : 0)", "0"),
        ("the news is not written", "broken_ = true;", NOTHING),
    ),
    ("in_use", "io/detail/in_use.cpp"): (
        (
            "the last to leave wakes nobody",
            "closer->home().schedule(*closer);",
            NOTHING,
        ),
        ("the last to leave is not told apart", "after == (waiting | closing)", "false"),
        (
            "a close does not wait",
            "before != in_use::closing",
            "false",
        ),
        ("a close does not say that it waits", "before | waiting", "before"),
        (
            "who enters is not counted",
            "word_.fetch_add(what, std::memory_order_acquire)",
            "word_.load(std::memory_order_relaxed)",
        ),
        (
            "a close is not announced",
            "of.word_.fetch_or(in_use::closing, std::memory_order_acquire)",
            "of.word_.load(std::memory_order_acquire)",
        ),
        ("the closer is not known", "of_->closer_ = ctx_;", NOTHING),
    ),
    ("broadcast", "sync/detail/broadcast_core.cpp"): (
        (
            "a place that was given out stays free",
            "free_ = static_cast<broadcast_message*>(node->next);",
            NOTHING,
        ),
        (
            "what is held is destroyed when it is replaced",
            "replaced && replaced->held == 0",
            "replaced != nullptr",
        ),
        ("what is replaced is still wanted", "if (replaced) replaced->wanted = 0;", NOTHING),
        (
            "who waits is not woken by a message",
            "ended.take(takers_, *first, state::granted);",
            "takers_.remove(*first);",
        ),
        (
            "who waits is given nothing",
            "static_cast<void>(look(word, *first->place_));",
            NOTHING,
        ),
        ("what is held is not counted", "next->held = next->held + 1;", NOTHING),
        (
            "who has come to a message still wants it",
            "next->wanted = next->wanted - 1;",
            NOTHING,
        ),
        ("a close tells nobody", "end_if_over(word, ended);", NOTHING, 2),
        ("a dead message stays in the ring", "if (one == place) place = nullptr;", NOTHING),
        ("who leaves is still counted", "receivers_ = receivers_ - 1;", NOTHING),
        ("who leaves still wants what is there", "each->wanted = each->wanted - 1;", NOTHING),
        ("a lag is told and not passed", "place.next = to;", "place.next = to + 1;"),
    ),
    ("watch", "sync/detail/watch_core.cpp"): (
        ("a change wakes nobody", "ended.take_all(of_.queue_, state::granted);", NOTHING),
        ("two change at the same time", "of.changes_.lock();", NOTHING),
        ("a look holds nothing", "value->add_reference();", NOTHING),
        (
            "an end tells nobody",
            "if (is_over(word)) ended.take_all(queue_, state::refused);",
            NOTHING,
        ),
        ("a change is not announced", "refused ? word : word | changing", "word"),
        (
            "a change that is given up is not over",
            "if (!is_published_) of_.unlock_and_end(of_.word_.lock() & ~changing);",
            NOTHING,
        ),
        ("a change is no version", "(word & ~changing) + one_version", "word & ~changing"),
        ("who was told withdraws all the same", "return queued;", "return true;"),
    ),
    ("mpsc", "sync/detail/mpsc_core.cpp"): (
        (
            "a waiter keeps its place when it is given a node",
            "ended.take(waits, *first, state::granted);",
            "ended.add(*first, state::granted);",
        ),
        ("who waits is not announced", "none ? word & ~waits : word | waits", "word & ~waits"),
        (
            "a free node is not taken out",
            "free_ = static_cast<message_node*>(node->next);",
            NOTHING,
        ),
        ("a message passes by who waits", "takers_.empty()", "true", 2),
        ("room passes by who waits", "!rooms_.empty()", "false"),
        ("what is in hand does not count", "if (node) live_ = live_ + 1;", NOTHING),
        (
            "the last one in hand ends nothing",
            "if (is_over(word)) ended.take_all(takers_, state::refused);",
            NOTHING,
            1,
        ),
        (
            "a close tells nobody who wants room",
            "ended.take_all(rooms_, state::refused);",
            NOTHING,
        ),
        (
            "a close tells nobody who wants messages",
            "if (is_over(word)) ended.take_all(takers_, state::refused);",
            NOTHING,
            2,
        ),
        (
            "what was given is kept by who leaves",
            "if (waiter.how() == state::granted) put_back(*waiter.node());",
            NOTHING,
        ),
        (
            "room is kept by who leaves",
            "if (waiter.how() == state::granted) give_back(*waiter.node());",
            NOTHING,
        ),
        ("a channel that is left is not closed", "close(word | gone);", "close(word);"),
    ),
    ("oneshot", "sync/detail/oneshot_core.cpp"): (
        ("an answer wakes nobody", "ended.take_all(answer_, state::granted);", NOTHING, 2),
        (
            "a close does not wake who asks",
            "if (is_settled(word)) ended.take_all(answer_, state::granted);",
            NOTHING,
            2,
        ),
        (
            "a close does not wake who answers",
            "ended.take_all(closing_, state::granted);",
            NOTHING,
        ),
        (
            "a try that is given up wakes nobody",
            "if (is_settled(word)) ended.take_all(answer_, state::granted);",
            NOTHING,
            1,
        ),
        (
            "who waits for an answer is not announced",
            "none ? word & ~waits : word | waits",
            "word & ~waits",
        ),
        (
            "a message is not announced while it is written",
            "wanted ? word | sending : word",
            "word",
        ),
        ("a close comes too late", "word |= refusing;", NOTHING),
        ("a receiver goes unseen", "word &= ~receiver;", NOTHING),
        ("who was served withdraws all the same", "return queued;", "return true;"),
    ),
    ("semaphore", "sync/detail/semaphore_core.cpp"): (
        ("permits are granted twice", "word -= first->wanted_ << count_shift;", NOTHING),
        (
            "who is granted stays in the queue",
            "ended.take(queue_, *first, semaphore_waiter::state::granted);",
            "ended.add(*first, semaphore_waiter::state::granted);",
        ),
        (
            "a close tells nobody",
            "ended.take_all(queue_, semaphore_waiter::state::refused);",
            "ended_waits lost; lost.take_all(queue_, semaphore_waiter::state::refused);",
        ),
        ("the queue is not announced", "word |= waiting;", NOTHING),
    ),
    ("shared", "sync/detail/shared_core.cpp"): (
        ("who waits comes beside a writer", "may_enter(word, each->access_)", "true"),
        (
            "the last reader lets nobody in",
            "go_on(without_reader(word_.lock()));",
            "word_.unlock(without_reader(word_.lock()));",
        ),
        ("who is granted is not counted", "word = entered(word, each->access_);", NOTHING),
        ("an upgrade waits behind others", "queue_.add_first(waiter);", "queue_.add(waiter);"),
        ("an upgrade does not wait for readers", "may_enter(word, access::upgrade)", "true", 2),
        ("an upgrade is not announced", "word |= waiting;", NOTHING),
        (
            "who is granted stays in the queue",
            "ended.take(queue_, *each, state::granted);",
            "ended.add(*each, state::granted);",
        ),
        ("a downgrade counts no reader", "word_.lock() + one_reader", "word_.lock()"),
    ),
    ("root", "runtime/detail/root_task.cpp"): (
        (
            "the end does not wait for requests on their way",
            "requesters_.load(std::memory_order_seq_cst) != 0",
            "false",
        ),
        (
            "a request is not counted",
            "requesters_.fetch_add(1, std::memory_order_seq_cst);",
            "requesters_.fetch_add(0, std::memory_order_seq_cst);",
        ),
        (
            "a post holds no reference",
            "references_.fetch_add(1, std::memory_order_relaxed);",
            NOTHING,
            1,
        ),
        (
            "a count stays plain after its handle went elsewhere",
            "at_home() && pinned_ != 0",
            "pinned_ != 0",
        ),
        (
            "what the home worker has counted is forgotten",
            "counted_here_ - home_bias",
            "0U - home_bias",
        ),
        (
            "the last pinned one frees what others hold",
            "references_.load(std::memory_order_acquire) + here == 0",
            "true",
        ),
        (
            "a request does not look for the launch",
            "arrived_.load(std::memory_order_seq_cst)",
            "true",
        ),
        ("the launch does not look for a request", "requested_by_anybody()", "false"),
        ("a request does not look for the end", "!ended()", "true", 2),
        ("nobody is told of the end", "waiter->root_ended();", NOTHING),
        ("the run keeps its reference", "unpin();", NOTHING, 1),
        ("a joiner that came too late waits", "wait_result::ended", "wait_result::waits"),
        ("a state is told by the home worker only", "state->request(reason);", NOTHING),
        ("a request is flagged and not posted", "home().post(*this);", NOTHING, 2),
    ),
    ("root", "runtime/detail/context.cpp"): (
        ("a guard that outlives the task finds it", "own.set_owner(nullptr);", NOTHING, 2),
        (
            "a guard's end posts nothing",
            "owner_->home().post(*this);",
            NOTHING,
        ),
        (
            "a guard's end sees no request",
            "!owner_->requested_by_anybody()",
            "true",
        ),
        ("an errand does nothing", "owner->act_on_request();", NOTHING),
        ("an errand keeps its reference", "drop_reference();", NOTHING, 3),
        (
            "who is not the first to ask does not bump the epoch",
            "bump_epoch();",
            "if (first) bump_epoch();",
        ),
        (
            "a state that is made late sees no request",
            "made->request(reason());",
            NOTHING,
        ),
    ),
    ("root", "runtime/cancel.cpp"): (
        (
            "who leaves does not wait for the telling",
            "telling_.load(std::memory_order_acquire) == &listener",
            "false",
        ),
        ("the end of the telling is not told", "telling_.notify_all();", NOTHING),
        ("who is being told is not marked", "listener->listed_ = false;", NOTHING),
        (
            "who leaves stays in the list",
            "(listener.previous_ ? listener.previous_->next_ : first_) = listener.next_;",
            NOTHING,
        ),
        ("the telling holds no reference", "add_reference();", NOTHING, 1),
        (
            "a follower that is being freed is told",
            "!each->add_reference_unless_dying()",
            "(each->add_reference(), false)",
        ),
        ("followers are not told", "mark_followers(all);", NOTHING),
        ("a follower that comes late is not told", "request(leader.reason());", NOTHING),
        ("a follower holds no reference", "leader.add_reference();", NOTHING),
    ),
}


def place_of(text, which, times, path, name):
    found = [at for at in range(len(text)) if text.startswith(which, at)]
    if times is None:
        if len(found) != 1:
            sys.exit(f"{path}: '{name}': {which!r} is there {len(found)} times")
        return found[0]
    if len(found) < times:
        sys.exit(f"{path}: '{name}': {which!r} is there {len(found)} times")
    return found[times - 1]


def seeded(text, path, mutants):
    edits = []
    for name, before, after, *times in mutants:
        at = place_of(text, before, times[0] if times else None, path, name)
        chosen = f'toadstone::model::mutant("{name}")'
        if before.endswith(";"):
            new = f"{{ if ({chosen}) {{ {after} }} else {{ {before} }} }}"
        else:
            new = f"({chosen} ? ({after}) : ({before}))"
        edits.append((at, at + len(before), new))
    edits.sort(reverse=True)
    for start, end, new in edits:
        text = text[:start] + new + text[end:]
    return text


def main():
    root, output = map(Path, sys.argv[1:])
    names = []
    for (model, path), mutants in MUTANTS.items():
        text = seeded((root / path).read_text(encoding="utf-8"), path, mutants)
        (output / f"mutated_{Path(path).name}").write_text(text, encoding="utf-8")
        names += [(model, name) for name, *_ in mutants]
    lines = [
        "// The seeded faults by model.",
        '#include "model/explore.hpp"',
        "namespace toadstone::model {",
        "std::vector<const char*> mutants_of(std::string_view of) {",
        "    std::vector<const char*> names;",
        *(f'    if (of == "{model}") names.push_back("{name}");' for model, name in names),
        "    return names;",
        "}",
        "} // namespace toadstone::model",
    ]
    (output / "mutated_names.cpp").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
