from engines.files.hub import *
