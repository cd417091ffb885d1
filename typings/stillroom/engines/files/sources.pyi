from engines.files.sources import *
