from engines.files.index import *
