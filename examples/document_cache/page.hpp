// The page at "/": shards, recoveries with their causes, availability. It has everything in it.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_PAGE_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_PAGE_HPP

#include <string_view>

namespace cache {

/// HTML, which asks for /status every second, and shows texts as texts.
extern const std::string_view status_page;

} // namespace cache

#endif
