// The hosts file: names that are known without a server.
#ifndef TOADSTONE_IO_DNS_HOSTS_FILE_HPP
#define TOADSTONE_IO_DNS_HOSTS_FILE_HPP

#include <toadstone/io/dns/text_file.hpp>
#include <toadstone/io/endpoint.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace toadstone::io::detail {

/// An address as text, with port 0: "192.0.2.1", "[::1]", "fe80::1%eth0". Nothing of a name.
[[nodiscard]] std::optional<endpoint> read_address(std::string_view text);

/// As names are compared: small letters, without the dot at the end.
[[nodiscard]] std::string compared_name(std::string_view name);

/// Threads: any. The file is read by the first who asks after it has changed; others who ask
///     meanwhile wait for that, with their threads.
class hosts_file {
public:
    explicit hosts_file(std::string path) : path_(std::move(path)) {}

    /// The addresses of a compared_name(), of both families, in the order of the file.
    [[nodiscard]] std::vector<endpoint> find(const std::string& name);

private:
    using table = std::unordered_map<std::string, std::vector<endpoint>>;
    [[nodiscard]] static table read(std::string_view text);
    [[nodiscard]] std::shared_ptr<const table> newest();

    const std::string path_;
    std::mutex lock_;
    file_stamp stamp_; // this and the table: guarded by lock_
    std::shared_ptr<const table> table_ = std::make_shared<const table>();
};

} // namespace toadstone::io::detail

#endif
