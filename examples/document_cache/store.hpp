// The cache: documents in shards by their ids, indexers that work for clients, and what is done
// about inputs that break them.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_STORE_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_STORE_HPP

#include "quarantine.hpp"
#include "shard.hpp"

#include <toadstone/io/folder.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/runtime/task_scope.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cache {

enum class fate : unsigned char {
    stored,      ///< or removed: it is on the disk
    absent,      ///< it was to be removed, and there is none
    quarantined, ///< it has broken an index twice, and is not tried again
    not_stored,  ///< the disk, or the memory, has refused it
    unknown,     ///< nobody knows before the next start whether it is on the disk
};
struct verdict {
    fate how = fate::not_stored;
    std::uint64_t version = 0;
    std::string why{};
};

/// Documents that have a term.
struct found_page {
    std::vector<hit> hits; ///< by their ids
    bool more = false;     ///< there are others behind the last one
};

/// Cancellation: as of a shard. Changes that are cut have happened, all of a shard's or none,
///     or not; nobody is told. A change of several shards may have happened in some of them.
/// Threads: any worker.
class store {
public:
    /// The references outlive the store.
    store(const options& chosen, const listeners& around);

    /// Makes what is missing of the folders, and reads the journals. Once, before all else.
    /// Another process that has them is waited for as long as `journal_wait` says.
    ///
    /// Errors: as journal::open(); std::runtime_error for data that has another number of
    ///     shards.
    [[nodiscard]] toadstone::task<> open();
    /// Writes, and tidies up: until close() or the end of the scope, which outlives all
    /// changes.
    void start(toadstone::task_scope& in);
    void close();

    /// Null if there is none.
    [[nodiscard]] toadstone::task<document_ref> find(std::string id);
    [[nodiscard]] toadstone::task<found_page> search(std::string term, std::string after,
                                                     std::size_t most);
    /// Puts in and removes: one section for each shard. Each of the wishes has its own fate.
    ///
    /// An indexer, a task of its own, does the work. One that fails by its input has another
    /// one try it again, on the restored shard, before the input is quarantined; one that was
    /// stopped by something else is replaced.
    [[nodiscard]] toadstone::task<std::vector<verdict>> change(std::vector<wish> wishes);

    [[nodiscard]] toadstone::task<std::vector<shard_status>> status();
    /// Of the first shard whose journal takes no records just now; empty when all do.
    [[nodiscard]] std::string failure() const;
    [[nodiscard]] std::size_t shard_of(std::string_view id) const noexcept;
    [[nodiscard]] shard& at(std::size_t number) noexcept { return *shards_[number]; }
    [[nodiscard]] std::size_t shards() const noexcept { return shards_.size(); }
    [[nodiscard]] std::size_t quarantined() const { return quarantine_.size(); }

    struct counts {
        std::uint64_t indexers = 0; ///< that were started
        std::uint64_t killed = 0;   ///< that ended without a result
        std::uint64_t strikes = 0;  ///< inputs that have broken an index
    };
    [[nodiscard]] counts counted() const noexcept;

private:
    struct group; ///< the wishes for one shard
    enum class end : unsigned char { killed, done, malformed, trouble, failed };
    struct report {
        end how = end::killed;
        bool unknown = false;
        std::string why;
    };
    using counter = std::atomic<std::uint64_t>;

    [[nodiscard]] toadstone::task<> make_folders();
    [[nodiscard]] toadstone::task<> change_shard(group& of, std::vector<verdict>& all);
    [[nodiscard]] toadstone::task<> with_fresh_indexer(group& of, attempt& how, report& said);
    [[nodiscard]] toadstone::task<> index(group& of, attempt& how, report& said);
    void take_out_quarantined(group& of, std::vector<verdict>& all) const;
    void strike(const wish& what, const std::string& why);

    const options& chosen_;
    quarantine quarantine_;
    std::vector<std::unique_ptr<shard>> shards_;
    counter indexers_{0};
    counter killed_{0};
    counter strikes_{0};
};

} // namespace cache

#endif
