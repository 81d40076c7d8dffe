// The writer, and what becomes of those who wait for it.
#include "journal.hpp"

#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/scope_guard.hpp>
#include <toadstone/runtime/sleep.hpp>
#include <toadstone/runtime/this_task.hpp>
#include <toadstone/sync/channel_closed.hpp>

#include <algorithm>
#include <exception>
#include <random>
#include <utility>

namespace journal {

namespace io = toadstone::io;
namespace sync = toadstone::sync;
using toadstone::task;

namespace {

std::uint64_t random_number() {
    std::random_device source;
    return std::uint64_t{source()} << 32 | source();
}

std::string moved(const io::file& which) {
    return which.path() + " was renamed, removed or replaced";
}

} // namespace

journal::journal(options chosen)
    : chosen_(std::move(chosen)), room_(chosen_.queue_bytes),
      queue_(sync::mpsc::unbounded<entry>()) {
    if (chosen_.segment_bytes < smallest_segment || chosen_.segment_bytes % 8 != 0) {
        throw std::invalid_argument("a journal's segment has at least " +
                                    std::to_string(smallest_segment) +
                                    " bytes, and a multiple of 8");
    }
    if (chosen_.queue_bytes == 0) {
        throw std::invalid_argument("a journal's queue has room for at least one byte");
    }
}

task<contents> journal::open() {
    io::folder segments = co_await io::folder::open(chosen_.folder);
    segments_.emplace(std::move(segments));
    io::folder snapshots = co_await io::folder::open(chosen_.snapshots);
    snapshots_.emplace(std::move(snapshots));
    co_await take_lock();
    survey found = co_await look_through(*segments_, *snapshots_, how_much::what_is_needed);
    if (found.broken) throw damaged_journal(*found.broken);
    if (!found.segments.empty()) co_await write_last_again(found.segments.back());
    bad_snapshots_ = std::move(found.bad_snapshots);
    acknowledge(found.good.end);
    co_return std::move(found.good);
}

/// Another process may be about to end, and still write.
task<> journal::take_lock() {
    using namespace std::chrono_literals;
    const auto until = toadstone::this_task::now() + chosen_.lock_wait;
    io::file file = co_await segments_->open_file("lock", {.write = true, .create = true});
    bool waits = false;
    while (!file.try_lock()) {
        if (toadstone::this_task::now() >= until) {
            throw journal_in_use("the journal in " + chosen_.folder +
                                 " is open in another process, which has not ended within " +
                                 std::to_string(chosen_.lock_wait.count()) +
                                 " ms: stop that one first");
        }
        if (!std::exchange(waits, true) && chosen_.on_waiting) chosen_.on_waiting();
        co_await toadstone::sleep_for(20ms);
    }
    if (!file.is_at_path()) throw std::runtime_error(moved(file));
    lock_file_.emplace(std::move(file));
}

/// A sync that failed leaves what can be read and is not on the disk, and the next one succeeds
/// all the same. Written again, it is.
task<> journal::write_last_again(const survey::part& last) {
    if (last.unsure_from == last.good_bytes) co_return;
    const std::string bytes = co_await read_file(*segments_, last.name);
    const auto good = std::string_view(bytes).substr(0, last.good_bytes);
    io::file file = co_await segments_->open_file(last.name, {.write = true});
    co_await file.write_all_at(good.substr(last.unsure_from), last.unsure_from);
    co_await file.sync_data();
    co_await file.close();
}

task<fate> ticket::outcome() {
    if (!known_) {
        try {
            known_ = co_await rx_.recv();
        } catch (const sync::channel_closed&) { // the writer was stopped in the middle
            known_.emplace();
        }
    }
    co_return *known_;
}

task<position> journal::append(std::uint32_t type, std::string payload) {
    ticket sent = co_await submit(type, std::move(payload));
    const fate of = co_await sent.outcome();
    co_return place_of(of);
}

task<ticket> journal::submit(std::uint32_t type, std::string payload,
                             std::unique_ptr<follower> then) {
    if (type > largest_type) throw std::invalid_argument("a record's type is too large");
    if (payload.size() > longest_payload(chosen_.segment_bytes)) {
        throw std::length_error("a record of " + std::to_string(payload.size()) +
                                " bytes is longer than a segment of the journal");
    }
    auto half = sync::oneshot::channel<fate>();
    ticket sent(std::move(half.rx));
    try {
        const std::size_t bytes = framed_size(payload.size());
        auto room = co_await room_.acquire(std::min(bytes, chosen_.queue_bytes));
        queue_.tx.send(entry{type,
                             std::move(payload),
                             std::move(room),
                             std::move(half.tx),
                             std::move(then),
                             {}});
        // From here on the record is on its way, whatever becomes of this task.
    } catch (const sync::closed_error&) {
        sent.known_ = fate{fate::end::refused, {}};
    }
    co_return sent;
}

position journal::place_of(const fate& of) const {
    if (of.how == fate::end::on_disk) return of.at;
    if (of.how == fate::end::refused) {
        throw not_appended("not appended to the journal in " + chosen_.folder + ": " +
                           why_not());
    }
    throw append_unknown("it is unknown whether this was appended to the journal in " +
                         chosen_.folder + ": " + why_not());
}

void journal::close() {
    queue_.tx.close();
}

void journal::give_up() noexcept {
    {
        const std::lock_guard hold(lock_);
        if (closed_ || stopped_) return;
    }
    stop(false);
}

task<> journal::run() {
    bool in_order = false;
    const toadstone::scope_exit ends([this, &in_order]() noexcept { stop(in_order); });
    try {
        for (;;) {
            if (!first_) first_ = co_await queue_.rx.recv();
            if (failed()) co_return;
            if (!first_) break; // closed, and nothing is left
            bool begun = true;
            try {
                co_await write_batch();
            } catch (const std::bad_alloc&) { // it has not begun
                begun = false;
            }
            if (!begun) note_refusal("there is no memory");
            if (!begun) refuse_waiting();
            if (failed()) co_return;
        }
        std::optional<segment> last = take_segment();
        if (last) co_await write_mark(*last, mark::closed);
        in_order = true;
    } catch (const std::system_error& error) {
        fail(error.what());
    }
}

/// Everything that waits, as far as it fits, in one write.
task<> journal::write_batch() {
    std::vector<entry> batch;
    bool begun = false; // something of the batch may be in the file
    fate::end how = fate::end::refused;
    try {
        if (!segment_ || !fits(*first_, 0)) co_await begin_segment();
        std::string bytes;
        const position behind = gather(batch, bytes);
        task<> write = segment_->file.write_all_at(bytes, segment_->used);
        begun = true; // behind what may find no memory
        co_await std::move(write);
        co_await segment_->file.sync_data();
        segment_->used += bytes.size();
        check_place();
        how = failed() ? fate::end::unknown : fate::end::on_disk;
        if (how == fate::end::on_disk) acknowledge(behind);
    } catch (const std::exception& error) {
        if (begun) {
            how = fate::end::unknown;
            fail(error.what());
        } else {
            note_refusal(error.what());
        }
    }
    if (how == fate::end::on_disk) {
        for (const entry& each : batch) {
            if (each.then) each.then->on_disk(each.at);
        }
    }
    for (entry& each : batch) give(each, how);
    // Each of those who wait would try for another segment in vain.
    if (how == fate::end::refused) refuse_waiting();
}

bool journal::fits(const entry& one, std::size_t before) const noexcept {
    // There is always room for a mark.
    return segment_->used + before + framed_size(one.payload.size()) + record_header_size <=
           chosen_.segment_bytes;
}

position journal::gather(std::vector<entry>& batch, std::string& bytes) {
    position behind = end_;
    const std::uint64_t synced = end_.sequence + 1;
    while (first_ && fits(*first_, bytes.size())) {
        if (!bytes.empty() &&
            bytes.size() + framed_size(first_->payload.size()) > chosen_.batch_bytes) {
            break;
        }
        add_record(bytes, behind, segment_->epoch, synced, first_->type, first_->payload);
        first_->at = behind;
        batch.push_back(std::move(*first_));
        first_ = queue_.rx.try_recv();
    }
    return behind;
}

/// Made beside and synced, so that it is whole or not there. What it replaces has no records:
/// one that nobody has written to, or whose first write was torn.
task<> journal::begin_segment() {
    const std::uint64_t epoch = chosen_.random ? chosen_.random() : random_number();
    const std::string header = to_bytes(segment_header{epoch, end_, chosen_.segment_bytes});
    const std::string name = name_of(segment_kind, end_.sequence + 1);
    std::optional<segment> before = take_segment();
    bool named = false;
    std::string lost;
    try {
        co_await put_file(*segments_, name, header, chosen_.segment_bytes, &named);
        if (before) co_await write_mark(*before, mark::continued);
    } catch (const std::exception& error) {
        // Once there is another one, nothing is written to the one before.
        if (!named) use_segment(std::move(before));
        if (!named || !dynamic_cast<const std::system_error*>(&error)) throw;
        lost = error.what();
    }
    if (!lost.empty()) {
        fail(lost.c_str());
        throw std::runtime_error(lost);
    }
    io::file file = co_await segments_->open_file(name, {.write = true});
    use_segment(segment{std::move(file), epoch, segment_header_size});
}

/// Behind the last record of the segment, to which nothing is written any more.
task<> journal::write_mark(segment& last, mark what) {
    const std::string bytes = to_bytes(what, end_, last.epoch);
    co_await last.file.write_all_at(bytes, last.used);
    co_await last.file.sync_data();
    co_await last.file.close();
}

task<> journal::save_snapshot(position at, std::string state) {
    const auto turn = co_await saving_.acquire();
    if (at.sequence > durable().sequence) {
        throw std::invalid_argument("a snapshot stands for records that are on the disk");
    }
    const std::string name = name_of(snapshot_kind, at.sequence);
    std::string bytes = snapshot_head(at, state.size());
    bytes.reserve(bytes.size() + state.size() + sizeof(std::uint32_t));
    std::uint32_t crc = crc32c(bytes);
    for (std::size_t done = 0; done < state.size(); done += part_bytes) {
        if (done > 0) co_await toadstone::yield_now();
        const auto part = std::string_view(state).substr(done, part_bytes);
        crc = crc32c(part, crc);
        bytes += part;
    }
    state = {};
    bytes += snapshot_tail(crc);
    co_await put_file(*snapshots_, name, bytes, bytes.size());
    const bool there = co_await has_content(*snapshots_, name, bytes);
    if (!there) {
        throw std::runtime_error(chosen_.snapshots + "/" + name +
                                 " is not what was written: the older ones are kept");
    }
    // A damaged one is none of the two that are kept.
    std::erase(bad_snapshots_, name);
    for (const std::string& each : bad_snapshots_) co_await snapshots_->remove(each);
    bad_snapshots_.clear();
    co_await drop_older();
}

task<> journal::drop_older() {
    const auto kept = co_await numbers_in(*snapshots_, snapshot_kind);
    if (kept.size() < 2) co_return;
    const std::uint64_t oldest = kept[kept.size() - 2];
    for (std::size_t i = 0; i + 2 < kept.size(); ++i) {
        co_await snapshots_->remove(name_of(snapshot_kind, kept[i]));
    }
    // One that came back by a failure of power would miss the segments behind it.
    if (kept.size() > 2) co_await snapshots_->sync();
    // What a segment has ends where the next one begins. The last one always stays.
    const auto begins = co_await numbers_in(*segments_, segment_kind);
    for (std::size_t i = 0; i + 1 < begins.size() && begins[i + 1] <= oldest + 1; ++i) {
        co_await segments_->remove(name_of(segment_kind, begins[i]));
    }
}

void journal::give(entry& to, fate::end how) noexcept {
    to.then.reset();
    // Nobody may be waiting any more. Nothing is allocated, so nothing is thrown.
    static_cast<void>(to.tx.send(fate{how, to.at}));
    to.room.release();
}

void journal::refuse_waiting() noexcept {
    while (first_) {
        give(*first_, fate::end::refused);
        first_ = queue_.rx.try_recv();
    }
}

void journal::stop(bool in_order) noexcept {
    {
        const std::lock_guard hold(lock_);
        closed_ = in_order;
        stopped_ = !in_order;
    }
    // In this order: what comes behind the end of the queue is refused by it.
    queue_.rx.close();
    room_.close();
    if (!first_) first_ = queue_.rx.try_recv();
    refuse_waiting();
}

void journal::acknowledge(const position& behind) noexcept {
    end_ = behind;
    const std::lock_guard hold(lock_);
    durable_ = behind;
}

void journal::use_segment(std::optional<segment> next) noexcept {
    const std::lock_guard hold(lock_);
    segment_ = std::move(next);
}

std::optional<journal::segment> journal::take_segment() noexcept {
    const std::lock_guard hold(lock_);
    return std::exchange(segment_, std::nullopt);
}

void journal::check_place() {
    std::string gone;
    try {
        const std::lock_guard hold(lock_);
        if (segment_ && !segment_->file.is_at_path()) gone = moved(segment_->file);
        if (lock_file_ && !lock_file_->is_at_path()) gone = moved(*lock_file_);
    } catch (const std::system_error& error) {
        gone = error.what();
    }
    if (!gone.empty()) fail(gone.c_str());
}

void journal::fail(const char* why) noexcept {
    const std::lock_guard hold(lock_);
    if (std::exchange(failed_, true)) return;
    try {
        failure_ = std::string("the journal has failed: ") + why;
    } catch (const std::bad_alloc&) { // it has failed all the same
    }
}

void journal::note_refusal(const char* why) noexcept {
    const std::lock_guard hold(lock_);
    try {
        refusal_ = why;
    } catch (const std::bad_alloc&) {
        refusal_.clear();
    }
}

bool journal::failed() const noexcept {
    const std::lock_guard hold(lock_);
    return failed_;
}

std::string journal::failure() const {
    const std::lock_guard hold(lock_);
    if (failed_) return failure_.empty() ? "the journal has failed" : failure_;
    return stopped_ ? "the journal's writer was stopped" : "";
}

position journal::durable() const {
    const std::lock_guard hold(lock_);
    return durable_;
}

std::string journal::why_not() const {
    const std::string why = failure();
    if (!why.empty()) return why + "; open it again";
    const std::lock_guard hold(lock_);
    if (closed_) return "it is closed";
    return refusal_.empty() ? "it is closed, or there is no memory" : refusal_;
}

} // namespace journal
