from engines.bridge import *
