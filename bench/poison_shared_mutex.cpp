// Undisturbed sections of a shared_mutex, with and without poisoning.
#include "poison_sections.hpp"

namespace bench {

sections sections_of_shared_mutex() {
    return sections_of<writer>();
}

} // namespace bench
