from programs.published.filters import *
