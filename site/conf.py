"""The site: Sphinx with furo, from the Markdown in docs/, which reads well on GitHub too.

Sphinx, because the reference comes from docstrings in Google style, and MyST reads the Markdown as it is. `make docs`
copies docs/ beside this file, writes the pages that are generated (reference.py) and builds with warnings as errors.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).parent))

import elusive

project, author, copyright = "Elusive", "The Elusive authors", "The Elusive authors"
version = release = elusive.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["_build"]
myst_heading_anchors = 4  # as GitHub gives them
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.strikethrough"]
html_theme = "furo"
html_title = f"Elusive {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes in a list: autodoc has them too, as members
default_role = "code"  # docstrings mark names by single backticks
pygments_style, pygments_dark_style = "friendly", "monokai"
