"""Documents as people have them (HTML, PDF, office documents, manual pages, ...) come in, Markdown goes out.

Headings, lists, tables and code stay; what only shows or navigates goes. Pandoc reads every form but PDF, in a process
of its own that opens no file and reaches no network; PDFium reads PDF, in a process of its own too. So a file that
makes a converter crash, hang or fill the memory costs that file alone.
"""
