"""Commands that prepare data; jaxreid comes first, which ends one without a traceback that is stopped as it imports."""

import jaxreid as jaxreid
