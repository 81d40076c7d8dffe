// Undisturbed sections of a local_mutex, with and without poisoning.
#include "poison_sections.hpp"

namespace bench {

sections sections_of_local_mutex() {
    return sections_of<local>();
}

} // namespace bench
